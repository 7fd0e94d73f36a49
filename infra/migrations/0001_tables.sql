-- Tables of the sink. Creates only: locks nothing, rewrites nothing.
-- A row is identified by its sorting key: a record inserted twice is one row under FINAL, and people read through
-- views (0002) that say FINAL. Partitions follow the time that the record itself carries, so a repeat meets its twin.

CREATE TABLE IF NOT EXISTS reports
(
    report_id String COMMENT '上报编号 id of the report',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    item_code LowCardinality(String) COMMENT '事项编码 catalogue code of the item',
    channel LowCardinality(String) COMMENT '来源渠道 worker, resident or camera',
    occurred_at DateTime64(6, 'UTC') COMMENT '发生时间 when it happened',
    received_at DateTime64(6, 'UTC') COMMENT '接收时间 when the intake took it',
    description String COMMENT '情况描述 what was seen',
    digest String COMMENT '内容摘要 digest of what the client sent',
    urgency LowCardinality(String) COMMENT '紧急程度 normal or urgent',
    location_lat Nullable(Float64) COMMENT '纬度WGS-84 latitude, WGS-84',
    location_long Nullable(Float64) COMMENT '经度WGS-84 longitude, WGS-84',
    reported_by Nullable(String) COMMENT '上报人编号 roster id of a worker; null for residents',
    topic LowCardinality(String) COMMENT '所在主题 topic it came on',
    `partition` UInt16 COMMENT '分区 partition of the topic',
    `offset` UInt64 COMMENT '位移 offset in the partition',
    appended_at DateTime64(3, 'UTC') COMMENT '写入时间 when the broker appended it',
    ce_id String COMMENT '记录标识 id of the record; repeats have the same'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY ce_id
COMMENT '网格员与群众上报 reports of workers and residents';

CREATE TABLE IF NOT EXISTS case_commands
(
    command_id String COMMENT '操作编号 id of the command',
    case_id String COMMENT '案件编号 id of the case',
    move LowCardinality(String) COMMENT '操作 dispatch, acknowledge, handle, verify, rework',
    `by` String COMMENT '操作人编号 roster id of who did it',
    requested_at DateTime64(6, 'UTC') COMMENT '请求时间 when it was asked',
    assignee Nullable(String) COMMENT '承办人编号 roster id of whom it is with',
    note Nullable(String) COMMENT '备注 free text',
    topic LowCardinality(String) COMMENT '所在主题 topic it came on',
    `partition` UInt16 COMMENT '分区 partition of the topic',
    `offset` UInt64 COMMENT '位移 offset in the partition',
    appended_at DateTime64(3, 'UTC') COMMENT '写入时间 when the broker appended it',
    ce_id String COMMENT '记录标识 id of the record; repeats have the same'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(requested_at)
ORDER BY ce_id
COMMENT '案件操作请求 requests to move a case';

CREATE TABLE IF NOT EXISTS camera_events
(
    event_id String COMMENT '事件编号 id of the event',
    camera_id LowCardinality(String) COMMENT '智慧眼编号 id of the camera',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    kind LowCardinality(String) COMMENT '类别 what it records',
    phase LowCardinality(String) COMMENT '事件阶段 open, update or end',
    occurred_at DateTime64(6, 'UTC') COMMENT '发生时间 when it happened',
    started_at DateTime64(6, 'UTC') COMMENT '事件开始时间 when the event opened',
    score Float64 COMMENT '置信度 certainty, 0 to 1',
    detail Nullable(String) COMMENT '说明 text for people',
    clip_camera_id Nullable(String) COMMENT '录像智慧眼 camera of the recording',
    clip_start_at Nullable(DateTime64(6, 'UTC')) COMMENT '录像开始 start of the recording',
    clip_duration_ms Nullable(Int64) COMMENT '录像毫秒数 length of the recording in ms',
    clip_url Nullable(String) COMMENT '录像地址 address of the recording',
    topic LowCardinality(String) COMMENT '所在主题 topic it came on',
    `partition` UInt16 COMMENT '分区 partition of the topic',
    `offset` UInt64 COMMENT '位移 offset in the partition',
    appended_at DateTime64(3, 'UTC') COMMENT '写入时间 when the broker appended it',
    ce_id String COMMENT '记录标识 id of the record; repeats have the same'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (camera_id, ce_id)
COMMENT '智慧眼事件 camera events: open, update, end';

CREATE TABLE IF NOT EXISTS camera_telemetry
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
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(observed_at)
ORDER BY (camera_id, observed_at, topic, `partition`, `offset`)
TTL toDateTime(observed_at) + INTERVAL 90 DAY
COMMENT '智慧眼每秒状态 one row a camera and second';

CREATE TABLE IF NOT EXISTS case_events
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
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (case_id, number, ce_id)
COMMENT '案件台账 the ledger of every case';

CREATE TABLE IF NOT EXISTS case_results
(
    command_id String COMMENT '操作编号 id of the command',
    case_id String COMMENT '案件编号 id of the case',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    verdict LowCardinality(String) COMMENT '结果 accepted or refused',
    decided_at DateTime64(6, 'UTC') COMMENT '裁定时间 when the lane decided',
    reason Nullable(String) COMMENT '拒绝原因 why it was refused',
    detail Nullable(String) COMMENT '说明 text for people',
    stage LowCardinality(Nullable(String)) COMMENT '阶段 reported, dispatched, handling, verifying, archived',
    allowed Array(String) COMMENT '可用操作 moves the case allows now',
    topic LowCardinality(String) COMMENT '所在主题 topic it came on',
    `partition` UInt16 COMMENT '分区 partition of the topic',
    `offset` UInt64 COMMENT '位移 offset in the partition',
    appended_at DateTime64(3, 'UTC') COMMENT '写入时间 when the broker appended it',
    ce_id String COMMENT '记录标识 id of the record; repeats have the same'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(decided_at)
ORDER BY ce_id
COMMENT '操作结果 what became of each command';

CREATE TABLE IF NOT EXISTS cases
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
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(opened_at)
ORDER BY case_id
COMMENT '案件现状 where each case stands';

CREATE TABLE IF NOT EXISTS grid_state
(
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    as_of DateTime64(6, 'UTC') COMMENT '统计时间 when this was true',
    reported Int64 COMMENT '上报数 cases ever opened',
    open Int64 COMMENT '在办数 cases open',
    archived Int64 COMMENT '归档数 cases archived',
    by_stage Map(String, Int64) COMMENT '分阶段数 open cases by stage',
    overdue Int64 COMMENT '超期在办数 open cases past their deadline',
    breaches Int64 COMMENT '超期次数 deadlines missed',
    oldest_open_at Nullable(DateTime64(6, 'UTC')) COMMENT '最早在办立案时间 opening of the oldest open case',
    cameras Int64 COMMENT '智慧眼数 cameras of the grid',
    cameras_live Int64 COMMENT '在线智慧眼数 cameras that are live',
    topic LowCardinality(String) COMMENT '所在主题 topic it came on',
    `partition` UInt16 COMMENT '分区 partition of the topic',
    `offset` UInt64 COMMENT '位移 offset in the partition',
    appended_at DateTime64(3, 'UTC') COMMENT '写入时间 when the broker appended it',
    ce_id String COMMENT '记录标识 id of the record; repeats have the same'
)
ENGINE = ReplacingMergeTree(as_of)
ORDER BY grid_id
COMMENT '网格实时情况 each grid now';

CREATE TABLE IF NOT EXISTS alerts
(
    alert_id String COMMENT '告警编号 id of the alert',
    group_key String COMMENT '告警组 firing and resolved of one thing share it',
    status LowCardinality(String) COMMENT '状态 state',
    kind LowCardinality(String) COMMENT '类别 what it records',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    at DateTime64(6, 'UTC') COMMENT '生效时间 when it took effect',
    case_id Nullable(String) COMMENT '案件编号 id of the case',
    camera_id Nullable(String) COMMENT '智慧眼编号 id of the camera',
    item_code Nullable(String) COMMENT '事项编码 catalogue code of the item',
    clock LowCardinality(Nullable(String)) COMMENT '时限 acknowledge, dispose or verify',
    level LowCardinality(Nullable(String)) COMMENT '层级 village, street, district, department',
    from_level LowCardinality(Nullable(String)) COMMENT '原层级 level it climbed from',
    due_at Nullable(DateTime64(6, 'UTC')) COMMENT '截止时间 the deadline',
    repeat Int64 COMMENT '重复次数 how often it was told again',
    notify Array(String) COMMENT '通知对象 roster ids of who is told',
    detail Nullable(String) COMMENT '说明 text for people',
    topic LowCardinality(String) COMMENT '所在主题 topic it came on',
    `partition` UInt16 COMMENT '分区 partition of the topic',
    `offset` UInt64 COMMENT '位移 offset in the partition',
    appended_at DateTime64(3, 'UTC') COMMENT '写入时间 when the broker appended it',
    ce_id String COMMENT '记录标识 id of the record; repeats have the same'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (grid_id, ce_id)
COMMENT '告警 alerts of every kind';

CREATE TABLE IF NOT EXISTS dead_letters
(
    process LowCardinality(String) COMMENT '写入进程 process that could not read it',
    reason LowCardinality(String) COMMENT '原因 why, machine-readable',
    field Nullable(String) COMMENT '字段 field at fault',
    origin_topic LowCardinality(String) COMMENT '原主题 topic it came from',
    origin_partition Nullable(Int64) COMMENT '原分区 partition it came from',
    origin_offset Nullable(Int64) COMMENT '原位移 offset it came from',
    size_bytes Int64 COMMENT '字节数 size of the value',
    sha256 String COMMENT '哈希 SHA-256 of the value; the bytes stay on the topic',
    topic LowCardinality(String) COMMENT '所在主题 topic it came on',
    `partition` UInt16 COMMENT '分区 partition of the topic',
    `offset` UInt64 COMMENT '位移 offset in the partition',
    appended_at DateTime64(3, 'UTC') COMMENT '写入时间 when the broker appended it',
    ce_id String COMMENT '记录标识 id of the record; repeats have the same'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(appended_at)
ORDER BY ce_id
COMMENT '无法处理的记录 records nobody could process; never their content';
