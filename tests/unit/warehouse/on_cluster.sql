CREATE TABLE IF NOT EXISTS camera_telemetry_local ON CLUSTER 'district'
(
    camera_id LowCardinality(String) COMMENT '智慧眼编号 id of the camera',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    observed_at DateTime64(6, 'UTC') COMMENT '观测时间 the second observed',
    status LowCardinality(String) COMMENT '状态 state',
    fps Float64 COMMENT '帧率 frames of the last second',
    bitrate_bps Int64 COMMENT '码率bps bits per second',
    lost_packets Int64 COMMENT '丢包数 RTP packets lost since the producer started',
    reconnects Int64 COMMENT '重连次数 since the producer started',
    frame_age_ms Nullable(Int64) COMMENT '距上一帧毫秒数 ms since the last frame',
    topic LowCardinality(String) COMMENT '所在主题 topic it came on',
    `partition` UInt16 COMMENT '分区 partition of the topic',
    `offset` UInt64 COMMENT '位移 offset in the partition',
    appended_at DateTime64(3, 'UTC') COMMENT '写入时间 when the broker appended it',
    ce_id String COMMENT '记录标识 id of the record; repeats have the same'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(observed_at)
ORDER BY (camera_id, observed_at, topic, `partition`, `offset`)
TTL toDateTime(observed_at) + INTERVAL 90 DAY
COMMENT '智慧眼每秒状态 one row a camera and second';

CREATE TABLE IF NOT EXISTS camera_telemetry ON CLUSTER 'district' AS camera_telemetry_local
ENGINE = Distributed('district', currentDatabase(), 'camera_telemetry_local', cityHash64(camera_id))
COMMENT '智慧眼每秒状态 one row a camera and second';

CREATE TABLE IF NOT EXISTS case_events_local ON CLUSTER 'district'
(
    event_id String COMMENT '事件编号 id of the event',
    case_id String COMMENT '案件编号 id of the case',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    number Int64 COMMENT '台账序号 1, 2, 3 within the case',
    kind LowCardinality(String) COMMENT '类别 what it records',
    at DateTime64(6, 'UTC') COMMENT '生效时间 when it took effect',
    stage LowCardinality(String) COMMENT '阶段 reported, dispatched, handling, verifying, archived',
    level LowCardinality(String) COMMENT '层级 village, street, district, department',
    item_code LowCardinality(String) COMMENT '事项编码 catalogue code of the item',
    channel LowCardinality(String) COMMENT '来源渠道 worker, resident or camera',
    `by` Nullable(String) COMMENT '操作人编号 roster id of who did it',
    assignee Nullable(String) COMMENT '承办人编号 roster id of whom it is with',
    clock LowCardinality(Nullable(String)) COMMENT '时限 acknowledge, dispose or verify',
    due_at Nullable(DateTime64(6, 'UTC')) COMMENT '截止时间 the deadline',
    repeat Int64 COMMENT '重复次数 how often it was told again',
    note Nullable(String) COMMENT '备注 free text',
    topic LowCardinality(String) COMMENT '所在主题 topic it came on',
    `partition` UInt16 COMMENT '分区 partition of the topic',
    `offset` UInt64 COMMENT '位移 offset in the partition',
    appended_at DateTime64(3, 'UTC') COMMENT '写入时间 when the broker appended it',
    ce_id String COMMENT '记录标识 id of the record; repeats have the same'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(at)
ORDER BY (case_id, number, ce_id)
COMMENT '案件台账 the ledger of every case';

CREATE TABLE IF NOT EXISTS case_events ON CLUSTER 'district' AS case_events_local
ENGINE = Distributed('district', currentDatabase(), 'case_events_local', cityHash64(case_id))
COMMENT '案件台账 the ledger of every case';

CREATE TABLE IF NOT EXISTS cases_local ON CLUSTER 'district'
(
    case_id String COMMENT '案件编号 id of the case',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    item_code LowCardinality(String) COMMENT '事项编码 catalogue code of the item',
    channel LowCardinality(String) COMMENT '来源渠道 worker, resident or camera',
    urgency LowCardinality(String) COMMENT '紧急程度 normal or urgent',
    origin_id String COMMENT '来源编号 report or event that opened it',
    summary String COMMENT '摘要 in short',
    stage LowCardinality(String) COMMENT '阶段 reported, dispatched, handling, verifying, archived',
    level LowCardinality(String) COMMENT '层级 village, street, district, department',
    version Int64 COMMENT '版本 number of the last ledger event',
    policy String COMMENT '政策版本 content hash of the policy',
    occurred_at DateTime64(6, 'UTC') COMMENT '发生时间 when it happened',
    opened_at DateTime64(6, 'UTC') COMMENT '立案时间 when it was opened',
    updated_at DateTime64(6, 'UTC') COMMENT '更新时间 when it last changed',
    assignee Nullable(String) COMMENT '承办人编号 roster id of whom it is with',
    handler Nullable(String) COMMENT '处置人编号 roster id of who handled it',
    camera_id Nullable(String) COMMENT '智慧眼编号 id of the camera',
    timer_clock LowCardinality(Nullable(String)) COMMENT '当前时限 clock that runs',
    timer_armed Nullable(Int64) COMMENT '起算序号 ledger number that started the clock',
    timer_started_at Nullable(DateTime64(6, 'UTC')) COMMENT '起算时间 when the clock started',
    timer_due_at Nullable(DateTime64(6, 'UTC')) COMMENT '当前截止时间 end of the budget',
    timer_from_level LowCardinality(Nullable(String)) COMMENT '起算层级 level when the clock started',
    timer_step Nullable(Int64) COMMENT '时限步骤 0 warn, 1 breach, 2 and on further rungs',
    timer_next_at Nullable(DateTime64(6, 'UTC')) COMMENT '下次动作时间 when the clock acts next; null when the ladder has ended',
    breaches Int64 COMMENT '超期次数 deadlines missed',
    rework Int64 COMMENT '返工次数 times sent back',
    archived_at Nullable(DateTime64(6, 'UTC')) COMMENT '归档时间 when it was archived',
    topic LowCardinality(String) COMMENT '所在主题 topic it came on',
    `partition` UInt16 COMMENT '分区 partition of the topic',
    `offset` UInt64 COMMENT '位移 offset in the partition',
    appended_at DateTime64(3, 'UTC') COMMENT '写入时间 when the broker appended it',
    ce_id String COMMENT '记录标识 id of the record; repeats have the same'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', version)
PARTITION BY toYYYYMM(opened_at)
ORDER BY case_id
COMMENT '案件现状 where each case stands';

CREATE TABLE IF NOT EXISTS cases ON CLUSTER 'district' AS cases_local
ENGINE = Distributed('district', currentDatabase(), 'cases_local', cityHash64(case_id))
COMMENT '案件现状 where each case stands';

ALTER TABLE case_events_local ON CLUSTER 'district'
    ADD COLUMN IF NOT EXISTS told LowCardinality(Nullable(String)) COMMENT '督办层级 who is told by a supervision notice' AFTER repeat,
    ADD COLUMN IF NOT EXISTS extended_ms Nullable(Int64) COMMENT '延期毫秒 granted by an extension' AFTER told;

ALTER TABLE case_events ON CLUSTER 'district'
    ADD COLUMN IF NOT EXISTS told LowCardinality(Nullable(String)) COMMENT '督办层级 who is told by a supervision notice' AFTER repeat,
    ADD COLUMN IF NOT EXISTS extended_ms Nullable(Int64) COMMENT '延期毫秒 granted by an extension' AFTER told;

ALTER TABLE case_events_local ON CLUSTER 'district'
    ADD COLUMN IF NOT EXISTS closure LowCardinality(Nullable(String)) COMMENT '结案原因 why it ended, or which end is undone' AFTER note,
    ADD COLUMN IF NOT EXISTS related_to Nullable(String) COMMENT '关联案件 the case that may be, or is, the same thing' AFTER closure,
    ADD COLUMN IF NOT EXISTS satisfaction LowCardinality(Nullable(String)) COMMENT '满意度 what the reporter said' AFTER related_to;

ALTER TABLE case_events ON CLUSTER 'district'
    ADD COLUMN IF NOT EXISTS closure LowCardinality(Nullable(String)) COMMENT '结案原因 why it ended, or which end is undone' AFTER note,
    ADD COLUMN IF NOT EXISTS related_to Nullable(String) COMMENT '关联案件 the case that may be, or is, the same thing' AFTER closure,
    ADD COLUMN IF NOT EXISTS satisfaction LowCardinality(Nullable(String)) COMMENT '满意度 what the reporter said' AFTER related_to;

ALTER TABLE case_events_local ON CLUSTER 'district'
    MODIFY COLUMN event_id CODEC(ZSTD(1)),
    MODIFY COLUMN case_id CODEC(ZSTD(1)),
    MODIFY COLUMN number CODEC(T64, ZSTD(1)),
    MODIFY COLUMN at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN `by` CODEC(ZSTD(1)),
    MODIFY COLUMN assignee CODEC(ZSTD(1)),
    MODIFY COLUMN due_at CODEC(ZSTD(1)),
    MODIFY COLUMN repeat CODEC(T64, ZSTD(1)),
    MODIFY COLUMN note CODEC(ZSTD(1)),
    MODIFY COLUMN `offset` CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN appended_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ce_id CODEC(ZSTD(1)),
    MODIFY COLUMN extended_ms CODEC(T64, ZSTD(1)),
    MODIFY COLUMN related_to CODEC(ZSTD(1));

CREATE TABLE IF NOT EXISTS r_camera_hours_local ON CLUSTER 'district'
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
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(hour)
ORDER BY (camera_id, hour)
COMMENT '智慧眼分小时 hours of each camera';

CREATE TABLE IF NOT EXISTS r_camera_hours ON CLUSTER 'district' AS r_camera_hours_local
ENGINE = Distributed('district', currentDatabase(), 'r_camera_hours_local', cityHash64(camera_id))
COMMENT '智慧眼分小时 hours of each camera';

