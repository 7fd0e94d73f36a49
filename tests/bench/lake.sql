-- A lake of {cases} cases with eight ledger lines each, and {seconds} seconds of 64 cameras, up to {until}.
-- Everything follows from the row's number, so a lake is the same whoever fills it. One ledger line in fifty comes twice.

INSERT INTO case_events
    (event_id, case_id, grid_id, number, kind, at, stage, level, item_code, channel, `by`, assignee, clock, due_at, repeat,
     topic, `partition`, `offset`, appended_at, ce_id)
WITH
    intDiv(line, 8) AS n,
    line % 8 AS step,
    cityHash64(n, 'case') AS luck,
    luck % 64 AS g,
    concat('610117', leftPad(toString(1 + intDiv(g, 16)), 3, '0'), leftPad(toString(1 + intDiv(g, 4) % 4), 3, '0'),
        leftPad(toString(1 + g % 4), 3, '0')) AS grid,
    luck % 100 < 30 AS is_late,
    {until:DateTime64(6, 'UTC')} - toIntervalSecond(cityHash64(n, 'at') % (365 * 86400)) AS opened
SELECT
    substring(hex(sipHash128(n, step)), 1, 26),
    concat(grid, '-', substring(hex(sipHash128(n)), 1, 10)),
    grid,
    step + 1,
    ['opened', 'dispatched', 'acknowledged', if(is_late, 'breached', 'arrived'), if(is_late, 'escalated', 'paused'),
        'handled', 'verified', if(luck % 7 = 0, 'voided', 'archived')][step + 1] AS named,
    opened + toIntervalSecond(step * (600 + luck % 7200)),
    ['reported', 'dispatched', 'handling', 'handling', 'handling', 'verifying', 'verifying', 'archived'][step + 1],
    if(is_late AND step > 3, 'street', 'village'),
    ['01001', '01011', '03001', '04001', '05001'][luck % 5 + 1],
    ['worker', 'resident', 'camera'][luck % 3 + 1],
    if(named IN ('breached', 'escalated'), NULL, concat('pt-', substring(grid, 7))),
    concat('pt-', substring(grid, 7)),
    if(named IN ('breached', 'escalated'), 'dispose', NULL),
    if(step IN (1, 3, 4), opened + toIntervalHour(4), NULL),
    0,
    'case.events.v1',
    g % 4,
    line,
    opened + toIntervalSecond(step * (600 + luck % 7200)) + toIntervalMillisecond(luck % 400),
    substring(hex(sipHash128(n, step)), 1, 26)
FROM (SELECT number AS line FROM numbers({cases:UInt64} * 8) UNION ALL
      SELECT number * 50 AS line FROM numbers(intDiv({cases:UInt64} * 8, 50)));

INSERT INTO cases
    (case_id, grid_id, item_code, channel, urgency, origin_id, summary, stage, level, opened_at, version, policy, breaches,
     rework, archived_at, round, topic, `partition`, `offset`, appended_at, ce_id)
WITH
    intDiv(number, 2) AS n,
    number % 2 AS is_last,
    cityHash64(n, 'case') AS luck,
    luck % 64 AS g,
    concat('610117', leftPad(toString(1 + intDiv(g, 16)), 3, '0'), leftPad(toString(1 + intDiv(g, 4) % 4), 3, '0'),
        leftPad(toString(1 + g % 4), 3, '0')) AS grid,
    {until:DateTime64(6, 'UTC')} - toIntervalSecond(cityHash64(n, 'at') % (365 * 86400)) AS opened
SELECT
    concat(grid, '-', substring(hex(sipHash128(n)), 1, 10)),
    grid,
    ['01001', '01011', '03001', '04001', '05001'][luck % 5 + 1],
    ['worker', 'resident', 'camera'][luck % 3 + 1],
    if(luck % 11 = 0, 'urgent', 'normal'),
    concat('report-', toString(n)),
    '路口有人乱倒垃圾',
    if(is_last, 'archived', 'handling'),
    if(luck % 100 < 30, 'street', 'village'),
    opened,
    if(is_last, 8, 3),
    'b1946ac92492d234',
    luck % 100 < 30,
    0,
    if(is_last, opened + toIntervalSecond(7 * (600 + luck % 7200)), NULL),
    1,
    'cases.v1',
    g % 4,
    number,
    opened + toIntervalSecond(1),
    concat(grid, '-', substring(hex(sipHash128(n)), 1, 10), '/', if(is_last, '8', '3'))
FROM numbers({cases:UInt64} * 2)
WHERE NOT (is_last AND n % 20 = 0);

INSERT INTO reports
    (report_id, grid_id, item_code, channel, occurred_at, received_at, description, digest, urgency, reported_by,
     topic, `partition`, `offset`, appended_at, ce_id)
WITH
    cityHash64(number, 'case') AS luck,
    luck % 64 AS g,
    concat('610117', leftPad(toString(1 + intDiv(g, 16)), 3, '0'), leftPad(toString(1 + intDiv(g, 4) % 4), 3, '0'),
        leftPad(toString(1 + g % 4), 3, '0')) AS grid,
    {until:DateTime64(6, 'UTC')} - toIntervalSecond(cityHash64(number, 'at') % (365 * 86400)) AS opened
SELECT
    concat('report-', toString(number)),
    grid,
    ['01001', '01011', '03001', '04001', '05001'][luck % 5 + 1],
    if(luck % 2, 'worker', 'resident'),
    opened - toIntervalSecond(luck % 300),
    opened,
    '路口有人乱倒垃圾',
    substring(hex(sipHash128(number, 'd')), 1, 16),
    'normal',
    if(luck % 2, concat('pt-', substring(grid, 7)), NULL),
    'reports.v1',
    g % 4,
    number,
    opened + toIntervalMillisecond(luck % 400),
    concat('report-', toString(number))
FROM numbers({cases:UInt64});

INSERT INTO alerts
    (alert_id, group_key, status, kind, grid_id, at, case_id, item_code, clock, level, repeat, topic, `partition`, `offset`,
     appended_at, ce_id)
WITH
    cityHash64(number, 'case') AS luck,
    luck % 64 AS g,
    concat('610117', leftPad(toString(1 + intDiv(g, 16)), 3, '0'), leftPad(toString(1 + intDiv(g, 4) % 4), 3, '0'),
        leftPad(toString(1 + g % 4), 3, '0')) AS grid,
    {until:DateTime64(6, 'UTC')} - toIntervalSecond(cityHash64(number, 'at') % (365 * 86400)) AS opened
SELECT
    substring(hex(sipHash128(number, 'alert')), 1, 26),
    concat(grid, '/', toString(number)),
    if(number % 2, 'firing', 'resolved'),
    ['sla_warning', 'sla_breach', 'sla_escalation'][luck % 3 + 1],
    grid,
    opened + toIntervalHour(4),
    concat(grid, '-', substring(hex(sipHash128(number)), 1, 10)),
    ['01001', '01011', '03001', '04001', '05001'][luck % 5 + 1],
    'dispose',
    'street',
    0,
    'alerts.sla.v1',
    g % 4,
    number,
    opened + toIntervalHour(4) + toIntervalMillisecond(luck % 400),
    substring(hex(sipHash128(number, 'alert')), 1, 26)
FROM numbers({cases:UInt64});

INSERT INTO camera_telemetry
    (camera_id, grid_id, observed_at, status, fps, bitrate_bps, lost_packets, reconnects, frame_age_ms,
     topic, `partition`, `offset`, appended_at, ce_id)
WITH
    number % 64 AS g,
    intDiv(number, 64) AS second,
    cityHash64(number) AS luck,
    concat('610117', leftPad(toString(1 + intDiv(g, 16)), 3, '0'), leftPad(toString(1 + intDiv(g, 4) % 4), 3, '0'),
        leftPad(toString(1 + g % 4), 3, '0')) AS grid,
    {until:DateTime64(6, 'UTC')} - toIntervalSecond(intDiv({seconds:UInt64}, 64)) + toIntervalSecond(second)
        + toIntervalMicrosecond(g * 1000 + luck % 900) AS observed,
    -- Each camera is away for ten minutes now and then.
    cityHash64(g, intDiv(second, 600)) % 40 = 0 AS is_away
SELECT
    concat('cam-', substring(grid, 7), '-01'),
    grid,
    observed,
    if(is_away, if(second % 600 < 5, 'stalled', 'offline'), 'live'),
    if(is_away, 0, 24 + luck % 3),
    if(is_away, 0, 1800000 + luck % 400000),
    intDiv(second, 900),
    intDiv(second, 6000),
    if(is_away, second % 600 * 1000, luck % 60),
    'camera.telemetry.v1',
    g % 4,
    number,
    observed + toIntervalMillisecond(luck % 200),
    concat('cam-', substring(grid, 7), '-01/', formatDateTime(observed, '%Y-%m-%dT%H:%i:%S.%f+00:00'))
FROM numbers({seconds:UInt64});

INSERT INTO grids (registry, grid_id, name, name_en, village_id, village, street_id, street, as_of)
WITH
    concat('610117', leftPad(toString(1 + intDiv(number, 16)), 3, '0'), leftPad(toString(1 + intDiv(number, 4) % 4), 3, '0'),
        leftPad(toString(1 + number % 4), 3, '0')) AS grid
SELECT
    'lake',
    grid,
    concat('第', toString(number), '网格'),
    concat('Grid ', toString(number)),
    substring(grid, 1, 12),
    '村',
    substring(grid, 1, 9),
    '街',
    {until:DateTime64(6, 'UTC')}
FROM numbers(64);
