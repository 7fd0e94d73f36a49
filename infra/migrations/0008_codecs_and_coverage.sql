-- Codecs by measurement (docs/adr/0009) and views of coverage, cameras and time. Metadata only: parts that are there keep
-- their codec until they merge. Locks nothing.

ALTER TABLE reports
    MODIFY COLUMN report_id CODEC(ZSTD(1)),
    MODIFY COLUMN occurred_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN received_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN description CODEC(ZSTD(1)),
    MODIFY COLUMN digest CODEC(ZSTD(1)),
    MODIFY COLUMN location_lat CODEC(ZSTD(1)),
    MODIFY COLUMN location_long CODEC(ZSTD(1)),
    MODIFY COLUMN reported_by CODEC(ZSTD(1)),
    MODIFY COLUMN `offset` CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN appended_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ce_id CODEC(ZSTD(1)),
    MODIFY COLUMN settled CODEC(ZSTD(1)),
    MODIFY COLUMN media CODEC(ZSTD(1));

ALTER TABLE case_commands
    MODIFY COLUMN command_id CODEC(ZSTD(1)),
    MODIFY COLUMN case_id CODEC(ZSTD(1)),
    MODIFY COLUMN `by` CODEC(ZSTD(1)),
    MODIFY COLUMN requested_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN assignee CODEC(ZSTD(1)),
    MODIFY COLUMN note CODEC(ZSTD(1)),
    MODIFY COLUMN `offset` CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN appended_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ce_id CODEC(ZSTD(1)),
    MODIFY COLUMN duplicate_of CODEC(ZSTD(1)),
    MODIFY COLUMN extend_ms CODEC(T64, ZSTD(1));

ALTER TABLE camera_events
    MODIFY COLUMN event_id CODEC(ZSTD(1)),
    MODIFY COLUMN occurred_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN started_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN score CODEC(ZSTD(1)),
    MODIFY COLUMN detail CODEC(ZSTD(1)),
    MODIFY COLUMN clip_camera_id CODEC(ZSTD(1)),
    MODIFY COLUMN clip_start_at CODEC(ZSTD(1)),
    MODIFY COLUMN clip_duration_ms CODEC(T64, ZSTD(1)),
    MODIFY COLUMN clip_url CODEC(ZSTD(1)),
    MODIFY COLUMN `offset` CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN appended_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ce_id CODEC(ZSTD(1));

ALTER TABLE camera_telemetry
    MODIFY COLUMN observed_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN fps CODEC(ZSTD(1)),
    MODIFY COLUMN bitrate_bps CODEC(T64, ZSTD(1)),
    MODIFY COLUMN lost_packets CODEC(T64, ZSTD(1)),
    MODIFY COLUMN reconnects CODEC(T64, ZSTD(1)),
    MODIFY COLUMN frame_age_ms CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `offset` CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN appended_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ce_id CODEC(ZSTD(1));

ALTER TABLE case_events
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

ALTER TABLE case_results
    MODIFY COLUMN command_id CODEC(ZSTD(1)),
    MODIFY COLUMN case_id CODEC(ZSTD(1)),
    MODIFY COLUMN decided_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN reason CODEC(ZSTD(1)),
    MODIFY COLUMN detail CODEC(ZSTD(1)),
    MODIFY COLUMN allowed CODEC(ZSTD(1)),
    MODIFY COLUMN `offset` CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN appended_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ce_id CODEC(ZSTD(1));

ALTER TABLE cases
    MODIFY COLUMN case_id CODEC(ZSTD(1)),
    MODIFY COLUMN origin_id CODEC(ZSTD(1)),
    MODIFY COLUMN summary CODEC(ZSTD(1)),
    MODIFY COLUMN version CODEC(T64, ZSTD(1)),
    MODIFY COLUMN policy CODEC(ZSTD(1)),
    MODIFY COLUMN occurred_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN opened_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN updated_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN assignee CODEC(ZSTD(1)),
    MODIFY COLUMN handler CODEC(ZSTD(1)),
    MODIFY COLUMN camera_id CODEC(ZSTD(1)),
    MODIFY COLUMN timer_armed CODEC(T64, ZSTD(1)),
    MODIFY COLUMN timer_started_at CODEC(ZSTD(1)),
    MODIFY COLUMN timer_due_at CODEC(ZSTD(1)),
    MODIFY COLUMN timer_step CODEC(T64, ZSTD(1)),
    MODIFY COLUMN timer_next_at CODEC(ZSTD(1)),
    MODIFY COLUMN breaches CODEC(T64, ZSTD(1)),
    MODIFY COLUMN rework CODEC(T64, ZSTD(1)),
    MODIFY COLUMN archived_at CODEC(ZSTD(1)),
    MODIFY COLUMN `offset` CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN appended_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ce_id CODEC(ZSTD(1)),
    MODIFY COLUMN timer_paused_at CODEC(ZSTD(1)),
    MODIFY COLUMN timer_paused_ms CODEC(T64, ZSTD(1)),
    MODIFY COLUMN timer_extended_ms CODEC(T64, ZSTD(1)),
    MODIFY COLUMN location_lat CODEC(ZSTD(1)),
    MODIFY COLUMN location_long CODEC(ZSTD(1)),
    MODIFY COLUMN similar_to CODEC(ZSTD(1)),
    MODIFY COLUMN duplicate_of CODEC(ZSTD(1)),
    MODIFY COLUMN owner CODEC(ZSTD(1)),
    MODIFY COLUMN first_closed_at CODEC(ZSTD(1)),
    MODIFY COLUMN round CODEC(T64, ZSTD(1)),
    MODIFY COLUMN returns CODEC(T64, ZSTD(1)),
    MODIFY COLUMN extensions CODEC(T64, ZSTD(1)),
    MODIFY COLUMN paused_ms CODEC(T64, ZSTD(1)),
    MODIFY COLUMN supervisions CODEC(T64, ZSTD(1));

ALTER TABLE grid_state
    MODIFY COLUMN as_of CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN reported CODEC(T64, ZSTD(1)),
    MODIFY COLUMN open CODEC(T64, ZSTD(1)),
    MODIFY COLUMN archived CODEC(T64, ZSTD(1)),
    MODIFY COLUMN overdue CODEC(T64, ZSTD(1)),
    MODIFY COLUMN breaches CODEC(T64, ZSTD(1)),
    MODIFY COLUMN oldest_open_at CODEC(ZSTD(1)),
    MODIFY COLUMN cameras CODEC(T64, ZSTD(1)),
    MODIFY COLUMN cameras_live CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `offset` CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN appended_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ce_id CODEC(ZSTD(1));

ALTER TABLE alerts
    MODIFY COLUMN alert_id CODEC(ZSTD(1)),
    MODIFY COLUMN group_key CODEC(ZSTD(1)),
    MODIFY COLUMN at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN case_id CODEC(ZSTD(1)),
    MODIFY COLUMN camera_id CODEC(ZSTD(1)),
    MODIFY COLUMN item_code CODEC(ZSTD(1)),
    MODIFY COLUMN due_at CODEC(ZSTD(1)),
    MODIFY COLUMN repeat CODEC(T64, ZSTD(1)),
    MODIFY COLUMN notify CODEC(ZSTD(1)),
    MODIFY COLUMN detail CODEC(ZSTD(1)),
    MODIFY COLUMN `offset` CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN appended_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ce_id CODEC(ZSTD(1));

ALTER TABLE dead_letters
    MODIFY COLUMN field CODEC(ZSTD(1)),
    MODIFY COLUMN origin_partition CODEC(T64, ZSTD(1)),
    MODIFY COLUMN origin_offset CODEC(T64, ZSTD(1)),
    MODIFY COLUMN size_bytes CODEC(T64, ZSTD(1)),
    MODIFY COLUMN sha256 CODEC(ZSTD(1)),
    MODIFY COLUMN `offset` CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN appended_at CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ce_id CODEC(ZSTD(1));


ALTER TABLE v_grid_counts
    COMMENT COLUMN IF EXISTS grid_id '网格编码15位 grid, 15 digits',
    COMMENT COLUMN IF EXISTS reports '上报数 reports of workers and residents',
    COMMENT COLUMN IF EXISTS cases '立案数 cases opened',
    COMMENT COLUMN IF EXISTS open '在办数 cases open now',
    COMMENT COLUMN IF EXISTS archived '归档数 cases archived and not reopened',
    COMMENT COLUMN IF EXISTS void '作废数 cases voided',
    COMMENT COLUMN IF EXISTS breaches '超期次数 deadlines missed',
    COMMENT COLUMN IF EXISTS escalations '升级次数 rungs climbed',
    COMMENT COLUMN IF EXISTS reworks '返工次数 times verification failed';

ALTER TABLE v_grid_visits
    COMMENT COLUMN IF EXISTS grid_id '网格编码15位 grid, 15 digits',
    COMMENT COLUMN IF EXISTS home_visits '入户走访数 home visits',
    COMMENT COLUMN IF EXISTS publicity '政策宣传数 publicity rounds',
    COMMENT COLUMN IF EXISTS households_visited '走访户数 homes reached by visits',
    COMMENT COLUMN IF EXISTS households_informed '宣传户数 homes reached by publicity',
    COMMENT COLUMN IF EXISTS workers '网格员数 workers who went',
    COMMENT COLUMN IF EXISTS last_at '最近一次 when the last was';

-- Every figure is of distinct seconds or of extremes, which a repeated record cannot change: no FINAL is needed.
CREATE OR REPLACE VIEW v_camera_hours
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
AS SELECT
    toStartOfHour(observed_at) AS hour,
    camera_id,
    grid_id,
    groupBitmap(toUInt16(toUnixTimestamp(observed_at) % 3600)) AS seconds,
    groupBitmapIf(toUInt16(toUnixTimestamp(observed_at) % 3600), status = 'live') AS online_s,
    groupBitmapIf(toUInt16(toUnixTimestamp(observed_at) % 3600), status = 'stalled') AS stalled_s,
    groupBitmapIf(toUInt16(toUnixTimestamp(observed_at) % 3600), status = 'offline') AS offline_s,
    groupBitmapIf(toUInt16(toUnixTimestamp(observed_at) % 3600), status = 'auth_failed') AS refused_s,
    minIf(fps, status = 'live') AS least_fps,
    maxIf(fps, status = 'live') AS greatest_fps,
    max(camera_telemetry.lost_packets) - min(camera_telemetry.lost_packets) AS lost_packets,
    max(camera_telemetry.reconnects) - min(camera_telemetry.reconnects) AS reconnects,
    min(observed_at) AS first_at,
    max(observed_at) AS last_at
FROM camera_telemetry
GROUP BY hour, camera_id, grid_id
COMMENT '智慧眼分小时 hours of each camera';

-- Somebody looks at a grid in a minute when a camera of it is live, a worker reports from it, or one arrives or handles.
-- Bits, because the same minute seen by three is one minute, and a repeated record changes none.
CREATE OR REPLACE VIEW v_watch_hours
(
    hour DateTime('UTC') COMMENT '小时 start of the hour, UTC',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    observed UInt64 COMMENT '有人看护的分钟 minutes somebody looked, one bit each, minute 0 lowest; bitCount() counts them',
    first_at DateTime64(6, 'UTC') COMMENT '首条时间 first record of the grid in the hour',
    last_at DateTime64(6, 'UTC') COMMENT '末条时间 last record of the grid in the hour'
)
AS SELECT
    hour,
    grid_id,
    groupBitOr(minutes) AS observed,
    min(since) AS first_at,
    max(until) AS last_at
FROM
(
    SELECT
        toStartOfHour(observed_at) AS hour,
        grid_id,
        groupBitOrIf(bitShiftLeft(toUInt64(1), toMinute(observed_at)), status = 'live') AS minutes,
        min(observed_at) AS since,
        max(observed_at) AS until
    FROM camera_telemetry
    GROUP BY hour, grid_id
    UNION ALL
    SELECT toStartOfHour(received_at), grid_id, bitShiftLeft(toUInt64(1), toMinute(received_at)), received_at, received_at
    FROM reports
    WHERE reported_by IS NOT NULL
    UNION ALL
    SELECT toStartOfHour(at), grid_id, bitShiftLeft(toUInt64(1), toMinute(at)), at, at
    FROM case_events
    WHERE kind IN ('arrived', 'handled') AND `by` IS NOT NULL
)
GROUP BY hour, grid_id
COMMENT '网格看护分小时 in which minutes somebody looked at each grid';

-- A camera is due from its first record to the last record of any camera: one that falls silent is not online.
CREATE OR REPLACE VIEW v_camera_online
AS SELECT
    camera_id,
    grid_id,
    sumIf(h.online_s, hour >= toStartOfHour({since:DateTime('UTC')}) AND hour < toStartOfHour({until:DateTime('UTC')})) AS online_s,
    greatest(0, dateDiff(
        'second',
        greatest(toStartOfHour({since:DateTime('UTC')}), toStartOfSecond(min(first_at))),
        least(toStartOfHour({until:DateTime('UTC')}), (SELECT toStartOfSecond(max(observed_at)) + 1 FROM camera_telemetry))
    )) AS due_s,
    online_s / nullIf(due_s, 0) AS online_ratio
FROM v_camera_hours AS h
GROUP BY camera_id, grid_id
COMMENT '智慧眼在线率 online seconds of due seconds of each camera, between two full hours {since} and {until}';

-- A grid is due from its first record to the last record of any grid.
CREATE OR REPLACE VIEW v_unobserved
AS SELECT
    grid_id,
    greatest(0, dateDiff(
        'minute',
        greatest(toStartOfHour({since:DateTime('UTC')}), toStartOfMinute(min(first_at))),
        least(toStartOfHour({until:DateTime('UTC')}), (SELECT toStartOfMinute(max(last_at)) + 60 FROM v_watch_hours))
    )) AS due_minutes,
    due_minutes - sumIf(
        bitCount(observed), hour >= toStartOfHour({since:DateTime('UTC')}) AND hour < toStartOfHour({until:DateTime('UTC')})
    ) AS unobserved_minutes,
    unobserved_minutes / nullIf(due_minutes, 0) AS unobserved_ratio
FROM v_watch_hours
GROUP BY grid_id
COMMENT '无人看护网格分钟 minutes in which nobody looked at a grid, between two full hours {since} and {until}';

CREATE OR REPLACE VIEW v_before_after
AS SELECT
    grid_id,
    item_code,
    countIf(what = 'report' AND on < {day:Date}) AS reports_before,
    countIf(what = 'report' AND on >= {day:Date}) AS reports_after,
    countIf(what = 'opened' AND on < {day:Date}) AS cases_before,
    countIf(what = 'opened' AND on >= {day:Date}) AS cases_after,
    countIf(what = 'breached' AND on < {day:Date}) AS breaches_before,
    countIf(what = 'breached' AND on >= {day:Date}) AS breaches_after,
    cases_after / nullIf(cases_before, 0) AS cases_ratio
FROM
(
    SELECT grid_id, item_code, kind AS what, toDate(at, 'Asia/Shanghai') AS on FROM case_events FINAL
    WHERE kind IN ('opened', 'breached')
    UNION ALL
    SELECT grid_id, item_code, 'report' AS what, toDate(received_at, 'Asia/Shanghai') AS on FROM reports FINAL
)
WHERE on >= {day:Date} - {days:UInt16} AND on < {day:Date} + {days:UInt16}
GROUP BY grid_id, item_code
COMMENT '前后对比 the {days} days before and from {day} on, Beijing time, by grid and item';

CREATE OR REPLACE VIEW v_hour_of_week
(
    weekday UInt8 COMMENT '星期 1 Monday to 7 Sunday, Beijing time',
    hour UInt8 COMMENT '小时 0 to 23, Beijing time',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    item_code LowCardinality(String) COMMENT '事项编码 catalogue code of the item',
    cases UInt64 COMMENT '立案数 cases opened',
    breaches UInt64 COMMENT '超期次数 deadlines missed'
)
AS SELECT
    toDayOfWeek(at, 0, 'Asia/Shanghai') AS weekday,
    toHour(at, 'Asia/Shanghai') AS hour,
    grid_id,
    item_code,
    countIf(kind = 'opened') AS cases,
    countIf(kind = 'breached') AS breaches
FROM case_events FINAL
WHERE kind IN ('opened', 'breached')
GROUP BY weekday, hour, grid_id, item_code
COMMENT '一周热力 cases and breaches by weekday and hour';
