-- What a clock keeps of pauses and extensions. Adds columns with defaults: locks nothing, rewrites nothing.

ALTER TABLE cases
    ADD COLUMN IF NOT EXISTS timer_paused_at Nullable(DateTime64(6, 'UTC')) COMMENT '暂停时间 since when the clock stands still' AFTER timer_next_at,
    ADD COLUMN IF NOT EXISTS timer_paused_ms Nullable(Int64) COMMENT '已暂停毫秒 of ended pauses, as far as the clock counts them' AFTER timer_paused_at,
    ADD COLUMN IF NOT EXISTS timer_extended_ms Nullable(Int64) COMMENT '延期毫秒 added to the budget by approval' AFTER timer_paused_ms;

ALTER TABLE case_events
    ADD COLUMN IF NOT EXISTS extended_ms Nullable(Int64) COMMENT '延期毫秒 granted by an extension' AFTER repeat;

CREATE OR REPLACE VIEW v_case_events AS SELECT * FROM case_events FINAL
COMMENT '案件台账 the ledger of every case';

CREATE OR REPLACE VIEW v_cases AS SELECT * FROM cases FINAL
COMMENT '案件现状 where each case stands';
