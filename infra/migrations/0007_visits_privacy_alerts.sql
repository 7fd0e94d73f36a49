-- The visit log, private cases, alerts about several cameras. Creates, and adds columns with defaults: locks nothing, rewrites nothing.

CREATE TABLE IF NOT EXISTS visits
(
    visit_id String COMMENT '走访编号 id of the visit',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    kind LowCardinality(String) COMMENT '类别 home_visit 入户走访, publicity 政策宣传',
    worker LowCardinality(String) COMMENT '网格员编号 roster id of who went',
    occurred_at DateTime64(6, 'UTC') COMMENT '发生时间 when it happened',
    received_at DateTime64(6, 'UTC') COMMENT '接收时间 when the intake took it',
    households Int64 COMMENT '户数 homes that were reached',
    note Nullable(String) COMMENT '备注 free text, without personal data',
    topic LowCardinality(String) COMMENT '所在主题 topic it came on',
    `partition` UInt16 COMMENT '分区 partition of the topic',
    `offset` UInt64 COMMENT '位移 offset in the partition',
    appended_at DateTime64(3, 'UTC') COMMENT '写入时间 when the broker appended it',
    ce_id String COMMENT '记录标识 id of the record; repeats have the same'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(occurred_at)
ORDER BY ce_id
COMMENT '入户走访与政策宣传 home visits and publicity rounds';

CREATE OR REPLACE VIEW v_visits AS SELECT * FROM visits FINAL
COMMENT '入户走访与政策宣传 home visits and publicity rounds';

CREATE OR REPLACE VIEW v_grid_visits AS
SELECT
    grid_id,
    countIf(kind = 'home_visit') AS home_visits,
    countIf(kind = 'publicity') AS publicity,
    sumIf(households, kind = 'home_visit') AS households_visited,
    sumIf(households, kind = 'publicity') AS households_informed,
    uniqExact(worker) AS workers,
    max(occurred_at) AS last_at
FROM visits FINAL
GROUP BY grid_id
COMMENT '分网格走访统计 the visit log counted for each grid';

ALTER TABLE reports
    ADD COLUMN IF NOT EXISTS visibility LowCardinality(String) DEFAULT 'public' COMMENT '是否公开 public, or private: without text' AFTER media;

ALTER TABLE cases
    ADD COLUMN IF NOT EXISTS visibility LowCardinality(String) DEFAULT 'public' COMMENT '是否公开 public, or private: without text' AFTER supervisions;

ALTER TABLE alerts
    ADD COLUMN IF NOT EXISTS cameras Array(String) COMMENT '智慧眼编号 of a message about several cameras' AFTER detail;

CREATE OR REPLACE VIEW v_alerts AS SELECT * FROM alerts FINAL
COMMENT '告警 alerts of every kind';

CREATE OR REPLACE VIEW v_reports AS SELECT * FROM reports FINAL
COMMENT '网格员与群众上报 reports of workers and residents';

CREATE OR REPLACE VIEW v_cases AS SELECT * FROM cases FINAL
COMMENT '案件现状 where each case stands';

-- A case is private from its first version on, so no FINAL is needed to know which are.
CREATE OR REPLACE VIEW v_case_commands AS
SELECT * REPLACE (if(case_id IN (SELECT case_id FROM cases WHERE visibility = 'private'), NULL, note) AS note)
FROM case_commands FINAL
COMMENT '案件操作请求 requests to move a case; of private ones without reasons';
