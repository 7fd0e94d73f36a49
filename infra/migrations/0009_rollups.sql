-- Roll-ups, which dashboards read: each has the columns of its view, and `python -m consumers.warehouse.rollups` writes again
-- the hours that changed. Creates only: locks nothing, rewrites nothing.

CREATE TABLE IF NOT EXISTS rollups
(
    name LowCardinality(String) COMMENT '汇总表 name of the roll-up',
    as_of DateTime64(3, 'UTC') COMMENT '刷新时间 all that was in the warehouse then is in the roll-up',
    took_ms UInt32 COMMENT '用时毫秒 how long the refresh took',
    seen Map(String, UInt64) COMMENT '已读区块 last block read, by table, its UUID and partition'
)
ENGINE = ReplacingMergeTree(as_of)
ORDER BY name
COMMENT '汇总表刷新情况 when each roll-up was refreshed';

CREATE OR REPLACE VIEW v_rollups
(
    name LowCardinality(String) COMMENT '汇总表 name of the roll-up',
    as_of DateTime64(3, 'UTC') COMMENT '刷新时间 all that was in the warehouse then is in the roll-up',
    age_s Float64 COMMENT '距今秒数 seconds since then',
    took_ms UInt32 COMMENT '用时毫秒 how long the refresh took'
)
AS SELECT name, as_of, dateDiff('millisecond', as_of, now64(3, 'UTC')) / 1000 AS age_s, took_ms FROM rollups FINAL
COMMENT '汇总表刷新情况 how old each roll-up is';

CREATE OR REPLACE VIEW v_case_hours
(
    hour DateTime('UTC') COMMENT '小时 start of the hour, UTC',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    item_code LowCardinality(String) COMMENT '事项编码 catalogue code of the item',
    level LowCardinality(String) COMMENT '层级 village, street, district, department',
    opened UInt64 COMMENT '立案数 cases opened',
    archived UInt64 COMMENT '归档数 times archived',
    reopened UInt64 COMMENT '重新立案数 times reopened',
    voided UInt64 COMMENT '作废数 cases voided',
    acknowledged UInt64 COMMENT '签收数 times acknowledged',
    handled UInt64 COMMENT '处置数 times handled',
    returned UInt64 COMMENT '退单数 times returned',
    reworked UInt64 COMMENT '返工数 times verification failed',
    warned UInt64 COMMENT '预警数 warnings',
    breached UInt64 COMMENT '超期数 deadlines missed',
    escalated UInt64 COMMENT '升级数 rungs climbed'
)
AS SELECT
    toStartOfHour(at) AS hour,
    grid_id,
    item_code,
    level,
    countIf(kind = 'opened') AS opened,
    countIf(kind = 'archived') AS archived,
    countIf(kind = 'reopened') AS reopened,
    countIf(kind = 'voided') AS voided,
    countIf(kind = 'acknowledged') AS acknowledged,
    countIf(kind = 'handled') AS handled,
    countIf(kind = 'returned') AS returned,
    countIf(kind = 'reworked') AS reworked,
    countIf(kind = 'warned') AS warned,
    countIf(kind = 'breached') AS breached,
    countIf(kind = 'escalated') AS escalated
FROM case_events FINAL
GROUP BY hour, grid_id, item_code, level
COMMENT '每小时案件流转 what happened to cases, by hour, grid, item and level';

CREATE TABLE IF NOT EXISTS r_case_hours
(
    hour DateTime('UTC') COMMENT '小时 start of the hour, UTC',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    item_code LowCardinality(String) COMMENT '事项编码 catalogue code of the item',
    level LowCardinality(String) COMMENT '层级 village, street, district, department',
    opened UInt64 COMMENT '立案数 cases opened',
    archived UInt64 COMMENT '归档数 times archived',
    reopened UInt64 COMMENT '重新立案数 times reopened',
    voided UInt64 COMMENT '作废数 cases voided',
    acknowledged UInt64 COMMENT '签收数 times acknowledged',
    handled UInt64 COMMENT '处置数 times handled',
    returned UInt64 COMMENT '退单数 times returned',
    reworked UInt64 COMMENT '返工数 times verification failed',
    warned UInt64 COMMENT '预警数 warnings',
    breached UInt64 COMMENT '超期数 deadlines missed',
    escalated UInt64 COMMENT '升级数 rungs climbed'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, grid_id, item_code, level)
COMMENT '每小时案件流转 what happened to cases, by hour, grid, item and level';

CREATE OR REPLACE VIEW v_alert_hours
(
    hour DateTime('UTC') COMMENT '小时 start of the hour, UTC',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    kind LowCardinality(String) COMMENT '类别 what it records',
    status LowCardinality(String) COMMENT '状态 firing or resolved',
    alerts UInt64 COMMENT '告警数 alerts'
)
AS SELECT
    toStartOfHour(at) AS hour,
    grid_id,
    kind,
    status,
    count() AS alerts
FROM alerts FINAL
GROUP BY hour, grid_id, kind, status
COMMENT '每小时告警数 alerts by hour, grid, kind and status';

CREATE TABLE IF NOT EXISTS r_alert_hours
(
    hour DateTime('UTC') COMMENT '小时 start of the hour, UTC',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    kind LowCardinality(String) COMMENT '类别 what it records',
    status LowCardinality(String) COMMENT '状态 firing or resolved',
    alerts UInt64 COMMENT '告警数 alerts'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, grid_id, kind, status)
COMMENT '每小时告警数 alerts by hour, grid, kind and status';

CREATE OR REPLACE VIEW v_case_stages
(
    opened_on Date COMMENT '立案日期 day of opening, UTC',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    item_code LowCardinality(String) COMMENT '事项编码 catalogue code of the item',
    stage LowCardinality(String) COMMENT '阶段 reported, dispatched, handling, verifying, archived',
    level LowCardinality(String) COMMENT '层级 village, street, district, department',
    cases UInt64 COMMENT '案件数 cases',
    breached UInt64 COMMENT '超期案件数 cases that missed a deadline'
)
AS SELECT
    toDate(opened_at) AS opened_on,
    grid_id,
    item_code,
    stage,
    level,
    count() AS cases,
    countIf(breaches > 0) AS breached
FROM cases FINAL
GROUP BY opened_on, grid_id, item_code, stage, level
COMMENT '案件所处阶段 where cases stand, by day of opening, grid, item, stage and level';

CREATE TABLE IF NOT EXISTS r_case_stages
(
    opened_on Date COMMENT '立案日期 day of opening, UTC',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    item_code LowCardinality(String) COMMENT '事项编码 catalogue code of the item',
    stage LowCardinality(String) COMMENT '阶段 reported, dispatched, handling, verifying, archived',
    level LowCardinality(String) COMMENT '层级 village, street, district, department',
    cases UInt64 COMMENT '案件数 cases',
    breached UInt64 COMMENT '超期案件数 cases that missed a deadline'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(opened_on)
ORDER BY (opened_on, grid_id, item_code, stage, level)
COMMENT '案件所处阶段 where cases stand, by day of opening, grid, item, stage and level';

CREATE OR REPLACE VIEW v_topic_minutes
(
    minute DateTime('UTC') COMMENT '分钟 start of the minute, UTC, by the time that records carry',
    topic LowCardinality(String) COMMENT '主题 topic',
    records UInt64 COMMENT '记录数 records, repeats left out',
    delay_ms Int64 COMMENT '延迟毫秒之和 sum of milliseconds from that time to the append',
    greatest_delay_ms Int64 COMMENT '最大延迟毫秒 greatest of them'
)
AS SELECT
    minute,
    topic,
    count() AS records,
    sum(delay) AS delay_ms,
    max(delay) AS greatest_delay_ms
FROM
(
    SELECT toStartOfMinute(received_at) AS minute, topic, dateDiff('millisecond', received_at, appended_at) AS delay FROM reports FINAL
    UNION ALL
    SELECT toStartOfMinute(requested_at) AS minute, topic, dateDiff('millisecond', requested_at, appended_at) AS delay FROM case_commands FINAL
    UNION ALL
    SELECT toStartOfMinute(occurred_at) AS minute, topic, dateDiff('millisecond', occurred_at, appended_at) AS delay FROM camera_events FINAL
    UNION ALL
    SELECT toStartOfMinute(observed_at) AS minute, topic, dateDiff('millisecond', observed_at, appended_at) AS delay FROM camera_telemetry FINAL
    UNION ALL
    SELECT toStartOfMinute(at) AS minute, topic, dateDiff('millisecond', at, appended_at) AS delay FROM case_events FINAL
    UNION ALL
    SELECT toStartOfMinute(decided_at) AS minute, topic, dateDiff('millisecond', decided_at, appended_at) AS delay FROM case_results FINAL
    UNION ALL
    SELECT toStartOfMinute(at) AS minute, topic, dateDiff('millisecond', at, appended_at) AS delay FROM alerts FINAL
    UNION ALL
    SELECT toStartOfMinute(received_at) AS minute, topic, dateDiff('millisecond', received_at, appended_at) AS delay FROM visits FINAL
    UNION ALL
    -- A letter sent again has another time of appending, which may be in another month.
    SELECT toStartOfMinute(appended_at) AS minute, topic, 0 AS delay
    FROM (SELECT topic, appended_at FROM dead_letters ORDER BY appended_at LIMIT 1 BY ce_id)
)
GROUP BY minute, topic
COMMENT '每分钟记录数 records of each topic by the minute they speak of, and how late the broker had them';

CREATE TABLE IF NOT EXISTS r_topic_minutes
(
    minute DateTime('UTC') COMMENT '分钟 start of the minute, UTC, by the time that records carry',
    topic LowCardinality(String) COMMENT '主题 topic',
    records UInt64 COMMENT '记录数 records, repeats left out',
    delay_ms Int64 COMMENT '延迟毫秒之和 sum of milliseconds from that time to the append',
    greatest_delay_ms Int64 COMMENT '最大延迟毫秒 greatest of them'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (topic, minute)
COMMENT '每分钟记录数 records of each topic by the minute they speak of, and how late the broker had them';

CREATE TABLE IF NOT EXISTS r_camera_hours
(
    hour DateTime('UTC') COMMENT '小时 start of the hour, UTC',
    camera_id LowCardinality(String) COMMENT '智慧眼编号 id of the camera',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    seconds UInt64 COMMENT '有记录秒数 seconds with a record',
    online_s UInt64 COMMENT '在线秒数 seconds live',
    stalled_s UInt64 COMMENT '卡顿秒数 seconds connected without a picture',
    offline_s UInt64 COMMENT '离线秒数 seconds offline',
    refused_s UInt64 COMMENT '登录被拒秒数 seconds with the log-in refused',
    least_fps Float64 COMMENT '最低帧率 least frames a second while live',
    greatest_fps Float64 COMMENT '最高帧率 greatest frames a second while live',
    lost_packets Int64 COMMENT '丢包数 RTP packets lost within the hour, restarts of the producer aside',
    reconnects Int64 COMMENT '重连次数 within the hour, restarts of the producer aside',
    first_at DateTime64(6, 'UTC') COMMENT '首条时间 first record',
    last_at DateTime64(6, 'UTC') COMMENT '末条时间 last record'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (camera_id, hour)
COMMENT '智慧眼分小时 hours of each camera';

CREATE TABLE IF NOT EXISTS r_watch_hours
(
    hour DateTime('UTC') COMMENT '小时 start of the hour, UTC',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    observed UInt64 COMMENT '有人看护的分钟 minutes somebody looked, one bit each, minute 0 lowest; bitCount() counts them',
    first_at DateTime64(6, 'UTC') COMMENT '首条时间 first record of the grid in the hour',
    last_at DateTime64(6, 'UTC') COMMENT '末条时间 last record of the grid in the hour'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (grid_id, hour)
COMMENT '网格看护分小时 in which minutes somebody looked at each grid';
