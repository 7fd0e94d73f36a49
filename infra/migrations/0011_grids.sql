-- The district's grids by name, and whose minutes nobody looked, visits among the looks. Creates, and replaces views: locks
-- nothing, rewrites nothing; the roll-up of watched minutes is written again where there were visits.

CREATE TABLE IF NOT EXISTS grids
(
    registry LowCardinality(String) COMMENT '区划版本 content address of the registry it is of',
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    name String COMMENT '网格名称 name of the grid',
    name_en String COMMENT '网格英文名称 its name in English',
    village_id LowCardinality(String) COMMENT '村编码12位 village, 12 digits',
    village LowCardinality(String) COMMENT '村名 name of the village',
    street_id LowCardinality(String) COMMENT '街道编码9位 street, 9 digits',
    street LowCardinality(String) COMMENT '街道名 name of the street',
    as_of DateTime64(3, 'UTC') COMMENT '登记时间 when this edition of the registry was taken up here'
)
ENGINE = MergeTree
ORDER BY (grid_id, as_of)
COMMENT '网格 grids of every edition of the registry';

CREATE OR REPLACE VIEW v_grids AS
SELECT
    grid_id,
    argMax(g.name, g.as_of) AS name,
    argMax(g.name_en, g.as_of) AS name_en,
    any(g.village_id) AS village_id,
    argMax(g.village, g.as_of) AS village,
    any(g.street_id) AS street_id,
    argMax(g.street, g.as_of) AS street,
    max(g.as_of) AS as_of,
    min(g.as_of) AS known_since
FROM grids AS g
GROUP BY grid_id
HAVING argMax(g.registry, g.as_of) = (SELECT argMax(registry, as_of) FROM grids)
COMMENT '网格 grids of the district as it is now: join them for names';

ALTER TABLE v_grids
    COMMENT COLUMN grid_id '网格编码15位 grid, 15 digits',
    COMMENT COLUMN name '网格名称 name of the grid',
    COMMENT COLUMN name_en '网格英文名称 its name in English',
    COMMENT COLUMN village_id '村编码12位 village, 12 digits',
    COMMENT COLUMN village '村名 name of the village',
    COMMENT COLUMN street_id '街道编码9位 street, 9 digits',
    COMMENT COLUMN street '街道名 name of the street',
    COMMENT COLUMN as_of '登记时间 when this edition of the registry was taken up here',
    COMMENT COLUMN known_since '首次登记时间 when an edition with this grid was first taken up here';

-- Somebody looks at a grid in a minute when a camera of it is live, a worker reports from it or is on a visit there, or one
-- arrives or handles. Bits, because the same minute seen by three is one minute, and a repeated record changes none.
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
    SELECT toStartOfHour(received_at), grid_id, bitShiftLeft(toUInt64(1), toMinute(received_at)), received_at, received_at
    FROM visits
    UNION ALL
    SELECT toStartOfHour(at), grid_id, bitShiftLeft(toUInt64(1), toMinute(at)), at, at
    FROM case_events
    WHERE kind IN ('arrived', 'handled') AND `by` IS NOT NULL
)
GROUP BY hour, grid_id
COMMENT '网格看护分小时 in which minutes somebody looked at each grid';

-- A grid is due from its first record, or from when it was known here if that was before, to the last record of any grid:
-- after that nobody can say. A grid that nobody ever looked at is due like any other.
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
FROM
(
    SELECT hour, grid_id, observed, first_at FROM v_watch_hours
    UNION ALL
    SELECT toStartOfHour(known_since), grid_id, 0, known_since FROM v_grids
)
GROUP BY grid_id
COMMENT '无人看护网格分钟 minutes in which nobody looked at a grid, between two full hours {since} and {until}';
