-- What people read: every view is exact, repeats and old versions left out. Locks nothing, rewrites nothing.

CREATE OR REPLACE VIEW v_reports AS SELECT * FROM reports FINAL
COMMENT '网格员与群众上报 reports of workers and residents';

CREATE OR REPLACE VIEW v_case_commands AS SELECT * FROM case_commands FINAL
COMMENT '案件操作请求 requests to move a case';

CREATE OR REPLACE VIEW v_camera_events AS SELECT * FROM camera_events FINAL
COMMENT '智慧眼事件 camera events: open, update, end';

CREATE OR REPLACE VIEW v_camera_telemetry AS SELECT * FROM camera_telemetry FINAL
COMMENT '智慧眼每秒状态 one row a camera and second';

CREATE OR REPLACE VIEW v_case_events AS SELECT * FROM case_events FINAL
COMMENT '案件台账 the ledger of every case';

CREATE OR REPLACE VIEW v_case_results AS SELECT * FROM case_results FINAL
COMMENT '操作结果 what became of each command';

CREATE OR REPLACE VIEW v_cases AS SELECT * FROM cases FINAL
COMMENT '案件现状 where each case stands';

CREATE OR REPLACE VIEW v_grid_state AS SELECT * FROM grid_state FINAL
COMMENT '网格实时情况 each grid now';

CREATE OR REPLACE VIEW v_alerts AS SELECT * FROM alerts FINAL
COMMENT '告警 alerts of every kind';

CREATE OR REPLACE VIEW v_dead_letters AS SELECT * FROM dead_letters FINAL
COMMENT '无法处理的记录 records nobody could process';

-- A fold of the ledger, so it can be held against grid.state: open = cases - archived - void, always.
CREATE OR REPLACE VIEW v_grid_counts AS
SELECT
    grid_id,
    sum(is_report) AS reports,
    sum(kind = 'opened') AS cases,
    cases - archived - void AS open,
    sum(kind = 'archived') AS archived,
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

-- 处置到位率 as the source article counts it: archived of reported. Of nothing, the share is null, never 100 %.
CREATE OR REPLACE VIEW v_kpi AS
SELECT
    substring(grid_id, 1, 6) AS district_id,
    countIf(kind = 'opened') AS reported,
    countIf(kind = 'archived') AS archived,
    reported - archived - void AS open,
    countIf(kind = 'voided') AS void,
    archived / nullIf(reported - void, 0) AS disposal_ratio,
    countIf(kind = 'archived' AND level IN ('village', 'street')) AS archived_locally,
    countIf(kind = 'archived' AND level IN ('district', 'department')) AS archived_by_district,
    uniqExactIf(case_id, kind = 'breached') AS breached_cases
FROM case_events FINAL
GROUP BY district_id
COMMENT '处置到位率等指标 the figures of the source article';
