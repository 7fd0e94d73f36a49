-- What the whole workflow keeps: ends, rounds, tasks, links, counts. Adds columns with defaults: locks nothing, rewrites nothing.

ALTER TABLE reports
    ADD COLUMN IF NOT EXISTS settled Nullable(String) COMMENT '自行处置情况 how the worker settled it on the spot' AFTER reported_by;

ALTER TABLE case_commands
    ADD COLUMN IF NOT EXISTS closure LowCardinality(Nullable(String)) COMMENT '结案原因 why it is closed' AFTER note,
    ADD COLUMN IF NOT EXISTS duplicate_of Nullable(String) COMMENT '重复于 the case that is the same thing' AFTER closure,
    ADD COLUMN IF NOT EXISTS extend_ms Nullable(Int64) COMMENT '延期毫秒 asked for' AFTER duplicate_of,
    ADD COLUMN IF NOT EXISTS satisfaction LowCardinality(Nullable(String)) COMMENT '满意度 what the reporter said' AFTER extend_ms;

ALTER TABLE case_events
    ADD COLUMN IF NOT EXISTS closure LowCardinality(Nullable(String)) COMMENT '结案原因 why it ended, or which end is undone' AFTER note,
    ADD COLUMN IF NOT EXISTS related_to Nullable(String) COMMENT '关联案件 the case that may be, or is, the same thing' AFTER closure,
    ADD COLUMN IF NOT EXISTS satisfaction LowCardinality(Nullable(String)) COMMENT '满意度 what the reporter said' AFTER related_to;

ALTER TABLE cases
    ADD COLUMN IF NOT EXISTS location_lat Nullable(Float64) COMMENT '纬度WGS-84 latitude, WGS-84' AFTER archived_at,
    ADD COLUMN IF NOT EXISTS location_long Nullable(Float64) COMMENT '经度WGS-84 longitude, WGS-84' AFTER location_lat,
    ADD COLUMN IF NOT EXISTS similar_to Nullable(String) COMMENT '疑似重复于 an earlier case that may be the same thing' AFTER location_long,
    ADD COLUMN IF NOT EXISTS duplicate_of Nullable(String) COMMENT '重复于 the case that is the same thing' AFTER similar_to,
    ADD COLUMN IF NOT EXISTS owner Nullable(String) COMMENT '牵头人编号 of the district, while departments have tasks' AFTER duplicate_of,
    ADD COLUMN IF NOT EXISTS tasks Map(String, String) COMMENT '协办 tasks of departments by who has them: open, done' AFTER owner,
    ADD COLUMN IF NOT EXISTS closure LowCardinality(Nullable(String)) COMMENT '结案原因 why it ended' AFTER tasks,
    ADD COLUMN IF NOT EXISTS satisfaction LowCardinality(Nullable(String)) COMMENT '满意度 what the reporter said' AFTER closure,
    ADD COLUMN IF NOT EXISTS first_closed_at Nullable(DateTime64(6, 'UTC')) COMMENT '首次结案时间 end of the first round' AFTER satisfaction,
    ADD COLUMN IF NOT EXISTS round Int64 DEFAULT 1 COMMENT '轮次 1, and one more with each reopening' AFTER first_closed_at,
    ADD COLUMN IF NOT EXISTS returns Int64 COMMENT '退单次数 in this round' AFTER round,
    ADD COLUMN IF NOT EXISTS extensions Int64 COMMENT '延期次数 in this round' AFTER returns,
    ADD COLUMN IF NOT EXISTS paused_ms Int64 COMMENT '暂停毫秒 of all pauses that have ended' AFTER extensions,
    ADD COLUMN IF NOT EXISTS supervisions Int64 COMMENT '督办次数 in this round' AFTER paused_ms;

CREATE OR REPLACE VIEW v_reports AS SELECT * FROM reports FINAL
COMMENT '网格员与群众上报 reports of workers and residents';

CREATE OR REPLACE VIEW v_case_commands AS SELECT * FROM case_commands FINAL
COMMENT '案件操作请求 requests to move a case';

CREATE OR REPLACE VIEW v_case_events AS SELECT * FROM case_events FINAL
COMMENT '案件台账 the ledger of every case';

CREATE OR REPLACE VIEW v_cases AS SELECT * FROM cases FINAL
COMMENT '案件现状 where each case stands';

-- A fold of the ledger, so it can be held against grid.state: open = cases - archived - void, always. Void is final;
-- a reopening takes the archiving before it back.
CREATE OR REPLACE VIEW v_grid_counts AS
SELECT
    grid_id,
    sum(is_report) AS reports,
    sum(kind = 'opened') AS cases,
    cases - archived - void AS open,
    toInt64(sum(kind = 'archived')) - sum(kind = 'reopened') AS archived,
    sum(kind = 'voided') AS void,
    sum(kind = 'breached') AS breaches,
    sum(kind = 'escalated') AS escalations,
    sum(kind = 'reworked') AS reworks
FROM
(
    SELECT grid_id, kind, 0 AS is_report FROM case_events FINAL
    UNION ALL
    SELECT grid_id, '' AS kind, 1 AS is_report FROM reports FINAL
)
GROUP BY grid_id
COMMENT '分网格统计 counts of each grid';

-- 处置到位率 as the source article counts it: put right, of reported. Of nothing, the share is null, never 100 %.
-- Closed is not fixed; lines from before there were reasons are of cases that were verified.
CREATE OR REPLACE VIEW v_kpi AS
SELECT
    substring(grid_id, 1, 6) AS district_id,
    countIf(kind = 'opened') AS reported,
    sum(ended) AS archived,
    reported - archived - void AS open,
    countIf(kind = 'voided') AS void,
    sumIf(ended, ifNull(closure, 'fixed') = 'fixed') / nullIf(reported - void, 0) AS disposal_ratio,
    sumIf(ended, level IN ('village', 'street')) AS archived_locally,
    sumIf(ended, level IN ('district', 'department')) AS archived_by_district,
    uniqExactIf(case_id, kind = 'breached') AS breached_cases
FROM
(
    SELECT *, toInt64(kind = 'archived') - toInt64(kind = 'reopened') AS ended FROM case_events FINAL
)
GROUP BY district_id
COMMENT '处置到位率等指标 the figures of the source article';
