-- Key figures from the ledger. Views only: locks nothing, rewrites nothing.
--
--   case_events ── v_case_turns ──┐
--        │                        ├── v_kpi_facts ── v_kpi_counts ── v_kpi ── v_kpi_grid, v_kpi_village …
--        └──────── v_case_chain ──┘
--
-- Each counter is defined once, in v_kpi_facts: a row there is one case that counts once, at one time. Whatever a
-- figure says can so be followed to its cases. 应…数: a case is due in the period in which the deadline of that stage
-- falls, wherever it was reported. Of nothing, a share is null, never 100 %.

-- 每次计时: from the ledger line that starts a clock to the line that starts the next one or ends the case. What
-- pauses, extends or breaches a clock belongs to it. A line of the ledger exists before any later move of the case, so
-- `breached` alone says what was late.
CREATE OR REPLACE VIEW v_case_turns AS
WITH
    lines AS
    (
        SELECT
            *,
            clock IS NOT NULL
                AND kind NOT IN ('paused', 'resumed', 'extended', 'warned', 'breached', 'escalated', 'notified', 'reminded')
                OR kind IN ('verified', 'archived', 'voided') AS begins,
            sum(begins) OVER (PARTITION BY case_id ORDER BY number) AS turn,
            1 + sum(kind = 'reopened') OVER (PARTITION BY case_id ORDER BY number) AS round
        FROM case_events FINAL
    ),
    turns AS
    (
        SELECT
            case_id,
            turn,
            any(l.grid_id) AS grid_id,
            any(l.item_code) AS item_code,
            any(l.channel) AS channel,
            min(l.round) AS round,
            min(l.number) AS number,
            argMin(l.kind, l.number) AS began_by,
            -- A tuple is never null, so argMin does not pass over a line in which nobody is named.
            argMin(tuple(l.by), l.number).1 AS who,
            argMin(tuple(l.assignee), l.number).1 AS holder,
            argMin(tuple(l.clock), l.number).1 AS clock,
            min(l.at) AS started_at,
            argMaxIf(l.kind = 'paused', l.number, l.kind IN ('paused', 'resumed')) AS is_paused,
            argMax(l.due_at, l.number) AS last_due_at,
            max(l.kind = 'breached') AS breached,
            countIf(l.kind = 'paused') AS pauses,
            countIf(l.kind = 'extended') AS extensions
        FROM lines AS l
        GROUP BY case_id, turn
    ),
    chained AS
    (
        SELECT
            *,
            leadInFrame(toNullable(toString(began_by))) OVER following AS ended_by,
            leadInFrame(toNullable(started_at)) OVER following AS ended_at,
            leadInFrame(who) OVER following AS ender,
            leadInFrame(toNullable(number)) OVER following AS ended_number,
            maxIf(number, clock IS NOT NULL) OVER whole AS last_number,
            maxIf(number, began_by IN ('dispatched', 'returned')) OVER whole AS last_sent,
            max(breached) OVER (PARTITION BY case_id, round) AS round_breached,
            sum(pauses) OVER (PARTITION BY case_id, round) AS round_pauses
        FROM turns
        WINDOW
            whole AS (PARTITION BY case_id),
            following AS (PARTITION BY case_id ORDER BY turn ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
    )
SELECT
    case_id,
    grid_id,
    item_code,
    channel,
    round,
    number,
    assumeNotNull(clock)::String AS clock,
    started_at,
    if(is_paused, NULL, last_due_at) AS due_at,
    ended_at,
    ended_by,
    multiIf(
        ended_by IS NULL, 'running',
        (clock, ended_by) IN (
            ('accept', 'accepted'), ('accept', 'dispatched'), ('dispatch', 'dispatched'),
            ('acknowledge', 'acknowledged'), ('arrive', 'arrived'), ('arrive', 'handled'),
            ('dispose', 'handled'), ('verify', 'verified'), ('verify', 'reworked')
        ), 'done',
        'withdrawn') AS outcome,
    breached,
    multiIf(clock IN ('accept', 'dispatch', 'verify'), if(outcome = 'done', ender, NULL), began_by = 'assigned', who, holder)
        AS worker,
    pauses,
    extensions,
    number = last_number AS is_last,
    round_breached,
    round_pauses,
    clock = 'dispatch' AND outcome = 'done' AND ended_number = last_sent AS is_accurate
FROM chained
WHERE clock IS NOT NULL
COMMENT '每次计时 every start of a clock: its deadline, how it ended, whose it was';

ALTER TABLE v_case_turns
    COMMENT COLUMN case_id '案件编号 id of the case',
    COMMENT COLUMN grid_id '网格编码15位 grid, 15 digits',
    COMMENT COLUMN item_code '事项编码 catalogue code of the item',
    COMMENT COLUMN channel '来源渠道 worker, resident or camera',
    COMMENT COLUMN round '轮次 1, and one more with each reopening',
    COMMENT COLUMN number '起算序号 ledger number that started the clock',
    COMMENT COLUMN clock '时限 accept, dispatch, acknowledge, arrive, dispose or verify',
    COMMENT COLUMN started_at '起算时间 when the clock started',
    COMMENT COLUMN due_at '截止时间 its deadline, pauses and extensions in it; null while paused',
    COMMENT COLUMN ended_at '结束时间 when it ended; null while it runs',
    COMMENT COLUMN ended_by '结束方式 kind of the ledger line that ended it',
    COMMENT COLUMN outcome '结果 done, running, or withdrawn: returned, given to another, closed or voided before it was done',
    COMMENT COLUMN breached '是否超期 1 if its deadline passed before it ended',
    COMMENT COLUMN worker '责任人编号 who had the case; of acceptance, dispatch and check, who did it',
    COMMENT COLUMN pauses '暂停次数 pauses of this clock',
    COMMENT COLUMN extensions '延期次数 extensions of this clock',
    COMMENT COLUMN is_last '是否最后一次 1 for the last clock that the case has or had',
    COMMENT COLUMN round_breached '本轮是否超期 1 if any clock of this round was late',
    COMMENT COLUMN round_pauses '本轮暂停次数 pauses of all clocks of this round',
    COMMENT COLUMN is_accurate '派遣是否准确 1 for a dispatch after which the case was neither returned nor sent to another';

-- 响应链: 首次发现 → 立案 → 派遣 → 签收 → 到场 → 处置完毕, and where the case stands now.
CREATE OR REPLACE VIEW v_case_chain AS
SELECT
    l.case_id AS case_id,
    l.grid_id AS grid_id,
    l.item_code AS item_code,
    l.channel AS channel,
    nullIf(c.urgency, '') AS urgency,
    if(c.case_id = '', NULL, c.occurred_at) AS first_seen_at,
    l.opened_at AS opened_at,
    l.accepted_at AS accepted_at,
    l.dispatched_at AS dispatched_at,
    l.acknowledged_at AS acknowledged_at,
    l.arrived_at AS arrived_at,
    l.handled_at AS handled_at,
    l.checked_at AS checked_at,
    l.settled_at AS settled_at,
    multiIf(l.voided_at IS NOT NULL, 'void', l.last_end = 'archived', 'archived', 'open') AS status,
    multiIf(status = 'void', l.voided_at, status = 'archived', l.archived_at, NULL) AS closed_at,
    multiIf(status = 'void', 'void', status = 'archived', ifNull(l.last_closure, 'fixed'), NULL) AS closure,
    l.level AS level,
    l.reporter AS reporter,
    l.accepter AS accepter,
    l.dispatcher AS dispatcher,
    l.first_handler AS first_handler,
    l.handler AS handler,
    l.checker AS checker,
    l.closer AS closer,
    l.is_late_accepted AS is_late_accepted
FROM
(
    SELECT
        case_id,
        any(e.grid_id) AS grid_id,
        any(e.item_code) AS item_code,
        any(e.channel) AS channel,
        min(e.at) AS opened_at,
        minOrNullIf(e.at, e.kind IN ('accepted', 'dispatched', 'handled')) AS accepted_at,
        minOrNullIf(e.at, e.kind = 'dispatched') AS dispatched_at,
        minOrNullIf(e.at, e.kind = 'acknowledged') AS acknowledged_at,
        minOrNullIf(e.at, e.kind = 'arrived') AS arrived_at,
        minOrNullIf(e.at, e.kind = 'handled') AS handled_at,
        minOrNullIf(e.at, e.kind IN ('verified', 'reworked')) AS checked_at,
        maxOrNullIf(e.at, e.kind = 'handled') AS settled_at,
        maxOrNullIf(e.at, e.kind = 'archived') AS archived_at,
        maxOrNullIf(e.at, e.kind = 'voided') AS voided_at,
        argMaxIf(e.kind, e.number, e.kind IN ('archived', 'reopened')) AS last_end,
        argMaxIf(tuple(e.closure), e.number, e.kind = 'archived').1 AS last_closure,
        argMax(e.level, e.number) AS level,
        argMinIf(tuple(e.by), e.number, e.kind = 'opened').1 AS reporter,
        argMinIf(tuple(e.by), e.number, e.kind IN ('accepted', 'dispatched', 'handled')).1 AS accepter,
        argMinIf(tuple(e.by), e.number, e.kind = 'dispatched').1 AS dispatcher,
        argMinIf(tuple(e.by), e.number, e.kind = 'handled').1 AS first_handler,
        argMaxIf(tuple(e.by), e.number, e.kind = 'handled').1 AS handler,
        argMinIf(tuple(e.by), e.number, e.kind IN ('verified', 'reworked')).1 AS checker,
        argMaxIf(tuple(e.by), e.number, e.kind IN ('archived', 'voided')).1 AS closer,
        countIf(e.kind = 'breached' AND e.clock = 'accept') > 0 AS is_late_accepted
    FROM case_events AS e FINAL
    GROUP BY case_id
) AS l
LEFT JOIN (SELECT case_id, urgency, occurred_at FROM cases FINAL) AS c ON c.case_id = l.case_id
COMMENT '响应链 one row a case: when it reached each step, who took it there, where it stands';

ALTER TABLE v_case_chain
    COMMENT COLUMN case_id '案件编号 id of the case',
    COMMENT COLUMN grid_id '网格编码15位 grid, 15 digits',
    COMMENT COLUMN item_code '事项编码 catalogue code of the item',
    COMMENT COLUMN channel '来源渠道 worker, resident or camera',
    COMMENT COLUMN urgency '紧急程度 normal or urgent',
    COMMENT COLUMN first_seen_at '首次发现时间 when it happened, by whoever reported it',
    COMMENT COLUMN opened_at '立案时间 when the case was opened',
    COMMENT COLUMN accepted_at '受理时间 when it was first taken up, or sent to somebody at once',
    COMMENT COLUMN dispatched_at '派遣时间 when it was first sent to somebody',
    COMMENT COLUMN acknowledged_at '签收时间 when it was first acknowledged',
    COMMENT COLUMN arrived_at '到场时间 first arrival; null where nobody said so',
    COMMENT COLUMN handled_at '首次处置时间 when it was first handled',
    COMMENT COLUMN checked_at '首次核查时间 when it was first checked, passed or not',
    COMMENT COLUMN settled_at '处置完毕时间 when it was last handled',
    COMMENT COLUMN status '状态 open, archived or void',
    COMMENT COLUMN closed_at '结案时间 when it was archived or voided; null while open',
    COMMENT COLUMN closure '结案原因 why it ended; null while open',
    COMMENT COLUMN level '层级 village, street, district or department: where it stands or ended',
    COMMENT COLUMN reporter '上报人编号 roster id; null for residents and cameras',
    COMMENT COLUMN accepter '受理人编号 who took it up; null when the engine sent it at once',
    COMMENT COLUMN dispatcher '派遣人编号 who first sent it; null when the engine did',
    COMMENT COLUMN first_handler '首次处置人编号 who first handled it',
    COMMENT COLUMN handler '处置人编号 who handled it last',
    COMMENT COLUMN checker '首次核查人编号 who first checked it',
    COMMENT COLUMN closer '结案人编号 who archived or voided it',
    COMMENT COLUMN is_late_accepted '受理是否超期 1 if the deadline to take it up passed';

-- 计数明细: every counter of the figures below, defined here and nowhere else.
-- A case counts at most once for each of report … archive. 处置到位 and 有效上报 are of the cases reported in the period.
CREATE OR REPLACE VIEW v_kpi_facts AS
WITH facts AS
(
    SELECT
        case_id,
        grid_id,
        item_code,
        arrayJoin([
            'report',
            if(status = 'open' OR closure NOT IN ('void', 'duplicate', 'not_responsible', 'cancelled'), 'validReport', ''),
            if(accepted_at IS NOT NULL, 'accept', ''),
            if(accepted_at IS NOT NULL AND status != 'void', 'register', ''),
            if(accepted_at IS NOT NULL AND status != 'void' AND NOT is_late_accepted, 'inTimeRegister', ''),
            if(dispatched_at IS NOT NULL, 'dispatch', ''),
            if(handled_at IS NOT NULL, 'dispose', ''),
            if(checked_at IS NOT NULL, 'check', ''),
            if(status = 'archived', 'archive', ''),
            if(status = 'void', 'cancel', ''),
            if(closure = 'fixed', 'settled', ''),
            if(closure = 'fixed' AND level IN ('village', 'street'), 'settledLocally', ''),
            if(closure = 'fixed' AND level IN ('district', 'department'), 'settledByDistrict', '')
        ]::Array(LowCardinality(String))) AS counter,
        multiIf(
            counter IN ('accept', 'register', 'inTimeRegister'), accepted_at,
            counter = 'dispatch', dispatched_at,
            counter = 'dispose', handled_at,
            counter = 'check', checked_at,
            counter IN ('archive', 'cancel'), closed_at,
            opened_at) AS at,
        multiIf(
            counter IN ('report', 'validReport'), reporter,
            counter IN ('accept', 'register', 'inTimeRegister'), accepter,
            counter = 'dispatch', dispatcher,
            counter = 'dispose', first_handler,
            counter = 'check', checker,
            counter IN ('archive', 'cancel'), closer,
            handler) AS worker
    FROM v_case_chain
    UNION ALL
    SELECT
        case_id,
        grid_id,
        item_code,
        arrayJoin([
            if(is_needed, 'need' || stage, ''),
            if(is_needed AND outcome = 'done' AND NOT breached, 'inTime' || stage, ''),
            if(is_needed AND outcome = 'done' AND breached, 'overtime' || stage, ''),
            if(is_needed AND outcome != 'done' AND breached, 'overtimeTo' || stage, ''),
            if(is_needed AND is_accurate, 'accurateDispatch', ''),
            if(is_closing, 'needArchive', ''),
            if(is_closing AND is_closed AND NOT round_breached, 'inTimeArchive', ''),
            if(is_closing AND is_closed AND round_breached, 'overtimeArchive', ''),
            if(is_closing AND NOT is_closed AND round_breached, 'overtimeToArchive', ''),
            if(is_closing AND round_pauses > 0, 'postponed', ''),
            if(is_closing AND round_pauses > 0 AND is_closed, 'postponedArchive', ''),
            if(is_closing AND is_urgent, 'needUrgentArchive', ''),
            if(is_closing AND is_urgent AND is_closed, 'urgentArchive', '')
        ]::Array(LowCardinality(String))) AS counter,
        due_at AS at,
        worker
    FROM
    (
        SELECT
            case_id, grid_id, item_code, due_at, outcome, breached, worker, is_accurate, round_breached, round_pauses,
            -- What was taken back in time was not owed any more.
            due_at IS NOT NULL AND (outcome != 'withdrawn' OR breached) AS is_needed,
            due_at IS NOT NULL AND is_last AND ifNull(ended_by, '') != 'voided' AS is_closing,
            ifNull(ended_by, '') IN ('verified', 'archived') AS is_closed,
            is_last AND case_id IN (SELECT case_id FROM cases FINAL WHERE urgency = 'urgent') AS is_urgent,
            transform(
                clock,
                ['accept', 'dispatch', 'acknowledge', 'arrive', 'dispose', 'verify'],
                ['Accept', 'Dispatch', 'Acknowledge', 'Arrive', 'Dispose', 'Check'],
                clock) AS stage
        FROM v_case_turns
    )
    UNION ALL
    SELECT
        case_id,
        grid_id,
        item_code,
        arrayJoin([
            transform(
                kind,
                ['reworked', 'returned', 'extended', 'supervised', 'breached', 'escalated', 'reopened', 'feedback'],
                ['rework', 'back', 'extend', 'supervise', 'breach', 'escalate', 'reopen', 'returnVisit'],
                ''),
            if(kind = 'feedback' AND satisfaction = 'satisfied', 'satisfied', '')
        ]::Array(LowCardinality(String))) AS counter,
        at,
        if(kind IN ('returned', 'reopened'), by, assignee) AS worker
    FROM case_events FINAL
)
SELECT
    facts.case_id AS case_id,
    facts.grid_id AS grid_id,
    facts.item_code AS item_code,
    tasks.departments AS departments,
    facts.worker AS worker,
    assumeNotNull(facts.at) AS at,
    facts.counter AS counter
FROM facts
LEFT JOIN
(
    SELECT case_id, arraySort(groupUniqArray(assumeNotNull(assignee))) AS departments
    FROM case_events FINAL
    WHERE kind = 'assigned'
    GROUP BY case_id
) AS tasks ON tasks.case_id = facts.case_id
WHERE facts.counter != ''
COMMENT '计数明细 one row for each time a case counts: as what, when, in whose name';

ALTER TABLE v_kpi_facts
    COMMENT COLUMN case_id '案件编号 id of the case',
    COMMENT COLUMN grid_id '网格编码15位 grid, 15 digits',
    COMMENT COLUMN item_code '事项编码 catalogue code of the item',
    COMMENT COLUMN departments '协办部门 roster ids of the departments that had a task of the case',
    COMMENT COLUMN worker '人员编号 who did it; of deadlines, reworks, extensions and visits, who had the case',
    COMMENT COLUMN at '计入时间 puts it into its period: what was done, when; what was due, its deadline',
    COMMENT COLUMN counter '计数项 counter of v_kpi it adds to';

-- 按日计数: facts by day of the district's own time zone; every figure is a sum of these rows.
CREATE OR REPLACE VIEW v_kpi_counts AS
SELECT
    toDate(at, 'Asia/Shanghai') AS day,
    grid_id,
    item_code,
    departments,
    worker,
    counter,
    count() AS n
FROM v_kpi_facts
GROUP BY day, grid_id, item_code, departments, worker, counter
COMMENT '按日计数 counters by day, grid, item, departments and worker';

ALTER TABLE v_kpi_counts
    COMMENT COLUMN day '日期 day in Asia/Shanghai',
    COMMENT COLUMN grid_id '网格编码15位 grid, 15 digits',
    COMMENT COLUMN item_code '事项编码 catalogue code of the item',
    COMMENT COLUMN departments '协办部门 roster ids of the departments that had a task of the case',
    COMMENT COLUMN worker '人员编号 in whose name it counts',
    COMMENT COLUMN counter '计数项 counter of v_kpi it adds to',
    COMMENT COLUMN n '数量 how many';

-- 考核指标: all counters and shares, by every dimension and period. Filter by dimension and period.
CREATE OR REPLACE VIEW v_kpi AS
SELECT
    d.1 AS dimension,
    d.2 AS key,
    p.1 AS period,
    p.2 AS period_start,
    sumIf(n, counter = 'report') AS report,
    sumIf(n, counter = 'validReport') AS validReport,
    sumIf(n, counter = 'accept') AS accept,
    sumIf(n, counter = 'register') AS register,
    sumIf(n, counter = 'inTimeRegister') AS inTimeRegister,
    sumIf(n, counter = 'dispatch') AS dispatch,
    sumIf(n, counter = 'dispose') AS dispose,
    sumIf(n, counter = 'check') AS check,
    sumIf(n, counter = 'archive') AS archive,
    sumIf(n, counter = 'cancel') AS cancel,
    sumIf(n, counter = 'rework') AS rework,
    sumIf(n, counter = 'back') AS back,
    sumIf(n, counter = 'extend') AS extend,
    sumIf(n, counter = 'supervise') AS supervise,
    sumIf(n, counter = 'reopen') AS reopen,
    sumIf(n, counter = 'breach') AS breach,
    sumIf(n, counter = 'escalate') AS escalate,
    sumIf(n, counter = 'returnVisit') AS returnVisit,
    sumIf(n, counter = 'satisfied') AS satisfied,
    sumIf(n, counter = 'settled') AS settled,
    sumIf(n, counter = 'settledLocally') AS settledLocally,
    sumIf(n, counter = 'settledByDistrict') AS settledByDistrict,
    sumIf(n, counter = 'needAccept') AS needAccept,
    sumIf(n, counter = 'inTimeAccept') AS inTimeAccept,
    sumIf(n, counter = 'overtimeAccept') AS overtimeAccept,
    sumIf(n, counter = 'overtimeToAccept') AS overtimeToAccept,
    sumIf(n, counter = 'needDispatch') AS needDispatch,
    sumIf(n, counter = 'inTimeDispatch') AS inTimeDispatch,
    sumIf(n, counter = 'overtimeDispatch') AS overtimeDispatch,
    sumIf(n, counter = 'overtimeToDispatch') AS overtimeToDispatch,
    sumIf(n, counter = 'accurateDispatch') AS accurateDispatch,
    sumIf(n, counter = 'needAcknowledge') AS needAcknowledge,
    sumIf(n, counter = 'inTimeAcknowledge') AS inTimeAcknowledge,
    sumIf(n, counter = 'overtimeAcknowledge') AS overtimeAcknowledge,
    sumIf(n, counter = 'overtimeToAcknowledge') AS overtimeToAcknowledge,
    sumIf(n, counter = 'needArrive') AS needArrive,
    sumIf(n, counter = 'inTimeArrive') AS inTimeArrive,
    sumIf(n, counter = 'overtimeArrive') AS overtimeArrive,
    sumIf(n, counter = 'overtimeToArrive') AS overtimeToArrive,
    sumIf(n, counter = 'needDispose') AS needDispose,
    sumIf(n, counter = 'inTimeDispose') AS inTimeDispose,
    sumIf(n, counter = 'overtimeDispose') AS overtimeDispose,
    sumIf(n, counter = 'overtimeToDispose') AS overtimeToDispose,
    sumIf(n, counter = 'needCheck') AS needCheck,
    sumIf(n, counter = 'inTimeCheck') AS inTimeCheck,
    sumIf(n, counter = 'overtimeCheck') AS overtimeCheck,
    sumIf(n, counter = 'overtimeToCheck') AS overtimeToCheck,
    sumIf(n, counter = 'needArchive') AS needArchive,
    sumIf(n, counter = 'inTimeArchive') AS inTimeArchive,
    sumIf(n, counter = 'overtimeArchive') AS overtimeArchive,
    sumIf(n, counter = 'overtimeToArchive') AS overtimeToArchive,
    sumIf(n, counter = 'postponed') AS postponed,
    sumIf(n, counter = 'postponedArchive') AS postponedArchive,
    sumIf(n, counter = 'needUrgentArchive') AS needUrgentArchive,
    sumIf(n, counter = 'urgentArchive') AS urgentArchive,
    settled / nullIf(report, 0) AS settled_ratio,
    validReport / nullIf(report, 0) AS valid_report_ratio,
    register / nullIf(accept, 0) AS register_ratio,
    inTimeRegister / nullIf(register, 0) AS in_time_register_ratio,
    dispatch / nullIf(register, 0) AS dispatch_ratio,
    inTimeAccept / nullIf(needAccept, 0) AS in_time_accept_ratio,
    inTimeDispatch / nullIf(needDispatch, 0) AS in_time_dispatch_ratio,
    accurateDispatch / nullIf(needDispatch, 0) AS accurate_dispatch_ratio,
    inTimeAcknowledge / nullIf(needAcknowledge, 0) AS in_time_acknowledge_ratio,
    inTimeArrive / nullIf(needArrive, 0) AS in_time_arrive_ratio,
    (inTimeDispose + overtimeDispose) / nullIf(needDispose, 0) AS dispose_ratio,
    inTimeDispose / nullIf(needDispose, 0) AS in_time_dispose_ratio,
    overtimeToDispose / nullIf(needDispose, 0) AS overtime_to_dispose_ratio,
    inTimeCheck / nullIf(needCheck, 0) AS in_time_check_ratio,
    (inTimeArchive + overtimeArchive) / nullIf(needArchive, 0) AS archive_ratio,
    inTimeArchive / nullIf(needArchive, 0) AS in_time_archive_ratio,
    (inTimeArchive + overtimeArchive - postponedArchive) / nullIf(needArchive - postponed, 0)
        AS archive_without_postponed_ratio,
    urgentArchive / nullIf(needUrgentArchive, 0) AS urgent_archive_ratio,
    rework / nullIf(needArchive, 0) AS rework_ratio,
    extend / nullIf(needArchive, 0) AS extend_ratio,
    extend / nullIf(needDispose, 0) AS extend_of_dispose_ratio,
    satisfied / nullIf(returnVisit, 0) AS satisfied_ratio
FROM
(
    SELECT
        counter,
        n,
        arrayJoin(arrayConcat(
            [
                ('grid', toString(grid_id)),
                ('village', substring(grid_id, 1, 12)),
                ('street', substring(grid_id, 1, 9)),
                ('district', substring(grid_id, 1, 6)),
                ('item', toString(item_code))
            ],
            if(worker IS NULL, [], [('worker', assumeNotNull(worker))]),
            arrayMap(department -> ('department', department), departments))) AS d,
        arrayJoin([
            ('day', day),
            ('week', toMonday(day)),
            ('month', toStartOfMonth(day)),
            ('all', toDate('1970-01-01'))]) AS p
    FROM v_kpi_counts
)
GROUP BY dimension, key, period, period_start
COMMENT '考核指标 all counters and shares by dimension and period';

ALTER TABLE v_kpi
    COMMENT COLUMN dimension '维度 grid, village, street, district, department, worker or item',
    COMMENT COLUMN key '编码 id of that grid, village …',
    COMMENT COLUMN period '周期 day, week (from Monday), month, or all: from the beginning',
    COMMENT COLUMN period_start '周期首日 first day, in Asia/Shanghai; 1970-01-01 of all',
    COMMENT COLUMN report '上报数 cases reported',
    COMMENT COLUMN validReport '有效上报数 of them not void, duplicate, withdrawn or another districts',
    COMMENT COLUMN accept '受理数 taken up, or sent to somebody at once',
    COMMENT COLUMN register '立案数 taken up and not void',
    COMMENT COLUMN inTimeRegister '按时立案数 of them taken up in time',
    COMMENT COLUMN dispatch '派遣数 sent to somebody',
    COMMENT COLUMN dispose '处置数 handled',
    COMMENT COLUMN check '核查数 checked, passed or not',
    COMMENT COLUMN archive '结案数 archived and not reopened',
    COMMENT COLUMN cancel '作废数 void',
    COMMENT COLUMN rework '返工数 times sent back by a check',
    COMMENT COLUMN back '退单数 times given back',
    COMMENT COLUMN extend '延期数 extensions granted',
    COMMENT COLUMN supervise '督办数 supervision notices of returns and reworks',
    COMMENT COLUMN reopen '重新立案数 reopenings',
    COMMENT COLUMN breach '超期次数 deadlines missed',
    COMMENT COLUMN escalate '升级次数 rungs climbed',
    COMMENT COLUMN returnVisit '回访数 visits with an answer',
    COMMENT COLUMN satisfied '满意数 of them satisfied',
    COMMENT COLUMN settled '处置到位数 of the cases reported in the period, put right by now',
    COMMENT COLUMN settledLocally '村街处置数 of them at village or street',
    COMMENT COLUMN settledByDistrict '区级处置数 of them at district or department',
    COMMENT COLUMN needAccept '应受理数 due to take up in the period',
    COMMENT COLUMN inTimeAccept '按期受理数 of them in time',
    COMMENT COLUMN overtimeAccept '超期受理数 of them done, but late',
    COMMENT COLUMN overtimeToAccept '超期待受理数 of them late and not done',
    COMMENT COLUMN needDispatch '应派遣数 due to send to somebody in the period',
    COMMENT COLUMN inTimeDispatch '按期派遣数 of them in time',
    COMMENT COLUMN overtimeDispatch '超期派遣数 of them done, but late',
    COMMENT COLUMN overtimeToDispatch '超期待派遣数 of them late and not done',
    COMMENT COLUMN accurateDispatch '准确派遣数 of them neither returned nor sent to another afterwards',
    COMMENT COLUMN needAcknowledge '应签收数 due to acknowledge in the period',
    COMMENT COLUMN inTimeAcknowledge '按期签收数 of them in time',
    COMMENT COLUMN overtimeAcknowledge '超期签收数 of them done, but late',
    COMMENT COLUMN overtimeToAcknowledge '超期待签收数 of them late and not done',
    COMMENT COLUMN needArrive '应到场数 due to arrive in the period',
    COMMENT COLUMN inTimeArrive '按期到场数 of them in time',
    COMMENT COLUMN overtimeArrive '超期到场数 of them done, but late',
    COMMENT COLUMN overtimeToArrive '超期待到场数 of them late and not done',
    COMMENT COLUMN needDispose '应处置数 due to handle in the period',
    COMMENT COLUMN inTimeDispose '按期处置数 of them in time',
    COMMENT COLUMN overtimeDispose '超期处置数 of them done, but late',
    COMMENT COLUMN overtimeToDispose '超期待处置数 of them late and not done',
    COMMENT COLUMN needCheck '应核查数 due to check in the period',
    COMMENT COLUMN inTimeCheck '按期核查数 of them in time',
    COMMENT COLUMN overtimeCheck '超期核查数 of them done, but late',
    COMMENT COLUMN overtimeToCheck '超期待核查数 of them late and not done',
    COMMENT COLUMN needArchive '应结案数 cases whose last deadline falls in the period',
    COMMENT COLUMN inTimeArchive '按期结案数 of them archived, no deadline of the round missed',
    COMMENT COLUMN overtimeArchive '超期结案数 of them archived, a deadline missed',
    COMMENT COLUMN overtimeToArchive '超期未结案数 of them open, a deadline missed',
    COMMENT COLUMN postponed '缓办数 of those due, paused at some time',
    COMMENT COLUMN postponedArchive '缓办结案数 of the postponed, archived',
    COMMENT COLUMN needUrgentArchive '紧急应结案数 of those due, urgent',
    COMMENT COLUMN urgentArchive '紧急结案数 of the urgent, archived',
    COMMENT COLUMN settled_ratio '处置到位率 settled / report',
    COMMENT COLUMN valid_report_ratio '有效上报率 validReport / report',
    COMMENT COLUMN register_ratio '立案率 register / accept',
    COMMENT COLUMN in_time_register_ratio '按时立案率 inTimeRegister / register',
    COMMENT COLUMN dispatch_ratio '派遣率 dispatch / register',
    COMMENT COLUMN in_time_accept_ratio '按期核实率 inTimeAccept / needAccept',
    COMMENT COLUMN in_time_dispatch_ratio '按期派遣率 inTimeDispatch / needDispatch',
    COMMENT COLUMN accurate_dispatch_ratio '准确派遣率 accurateDispatch / needDispatch',
    COMMENT COLUMN in_time_acknowledge_ratio '按期签收率 inTimeAcknowledge / needAcknowledge',
    COMMENT COLUMN in_time_arrive_ratio '按期到场率 inTimeArrive / needArrive',
    COMMENT COLUMN dispose_ratio '处置率 done / needDispose',
    COMMENT COLUMN in_time_dispose_ratio '按期处置率 inTimeDispose / needDispose',
    COMMENT COLUMN overtime_to_dispose_ratio '超期待处置率 overtimeToDispose / needDispose',
    COMMENT COLUMN in_time_check_ratio '按期核查率 inTimeCheck / needCheck',
    COMMENT COLUMN archive_ratio '结案率 archived / needArchive',
    COMMENT COLUMN in_time_archive_ratio '按期结案率 inTimeArchive / needArchive',
    COMMENT COLUMN archive_without_postponed_ratio '结案率(除缓办) archived / (needArchive − postponed)',
    COMMENT COLUMN urgent_archive_ratio '紧急问题结案率 urgentArchive / needUrgentArchive',
    COMMENT COLUMN rework_ratio '返工率 rework / needArchive',
    COMMENT COLUMN extend_ratio '延期率 extend / needArchive',
    COMMENT COLUMN extend_of_dispose_ratio '延期率(按应处置) extend / needDispose',
    COMMENT COLUMN satisfied_ratio '满意率 satisfied / returnVisit';

-- The same by what people ask for; their columns are those of v_kpi.
CREATE OR REPLACE VIEW v_kpi_grid AS SELECT key AS grid_id, * EXCEPT (dimension, key) FROM v_kpi WHERE dimension = 'grid'
COMMENT '各网格指标 figures of each grid';
ALTER TABLE v_kpi_grid COMMENT COLUMN grid_id '网格编码15位 grid, 15 digits';

CREATE OR REPLACE VIEW v_kpi_village AS SELECT key AS village_id, * EXCEPT (dimension, key) FROM v_kpi WHERE dimension = 'village'
COMMENT '各村指标 figures of each village, 12 digits';
ALTER TABLE v_kpi_village COMMENT COLUMN village_id '村编码12位 village, 12 digits';

CREATE OR REPLACE VIEW v_kpi_street AS SELECT key AS street_id, * EXCEPT (dimension, key) FROM v_kpi WHERE dimension = 'street'
COMMENT '各街道指标 figures of each street, 9 digits';
ALTER TABLE v_kpi_street COMMENT COLUMN street_id '街道编码9位 street, 9 digits';

CREATE OR REPLACE VIEW v_kpi_district AS SELECT key AS district_id, * EXCEPT (dimension, key) FROM v_kpi WHERE dimension = 'district'
COMMENT '全区指标 figures of the district, 6 digits';
ALTER TABLE v_kpi_district COMMENT COLUMN district_id '区编码6位 district, 6 digits';

CREATE OR REPLACE VIEW v_kpi_department AS SELECT key AS department_id, * EXCEPT (dimension, key) FROM v_kpi WHERE dimension = 'department'
COMMENT '各部门指标 figures of each department that had tasks, by roster id';
ALTER TABLE v_kpi_department COMMENT COLUMN department_id '部门编号 roster id of the department';

CREATE OR REPLACE VIEW v_kpi_worker AS SELECT key AS worker, * EXCEPT (dimension, key) FROM v_kpi WHERE dimension = 'worker'
COMMENT '各人员指标 figures of each person, by roster id';
ALTER TABLE v_kpi_worker COMMENT COLUMN worker '人员编号 roster id of the person';

CREATE OR REPLACE VIEW v_kpi_item AS SELECT key AS item_code, * EXCEPT (dimension, key) FROM v_kpi WHERE dimension = 'item'
COMMENT '各事项指标 figures of each item';
ALTER TABLE v_kpi_item COMMENT COLUMN item_code '事项编码 catalogue code of the item';

-- 响应时长: where time is lost, of the cases opened in the period. Who settles without saying that they arrived is
-- counted from acknowledge to settled alone.
CREATE OR REPLACE VIEW v_response_times AS
SELECT
    d.1 AS dimension,
    d.2 AS key,
    p.1 AS period,
    p.2 AS period_start,
    s.1 AS step,
    count() AS cases,
    quantileExactInclusive(0.5)(s.2) AS p50_ms,
    quantileExactInclusive(0.9)(s.2) AS p90_ms
FROM
(
    SELECT
        toDate(opened_at, 'Asia/Shanghai') AS day,
        arrayJoin(arrayFilter(
            s -> s.2 IS NOT NULL,
            [
                ('seen_to_case', age('millisecond', first_seen_at, opened_at)),
                ('case_to_dispatch', age('millisecond', opened_at, dispatched_at)),
                ('dispatch_to_acknowledge', age('millisecond', dispatched_at, acknowledged_at)),
                ('acknowledge_to_arrive', age('millisecond', acknowledged_at, arrived_at)),
                ('arrive_to_settled', age('millisecond', arrived_at, settled_at)),
                ('acknowledge_to_settled', age('millisecond', acknowledged_at, settled_at)),
                ('seen_to_settled', age('millisecond', first_seen_at, settled_at))
            ])) AS s,
        arrayJoin([
            ('grid', toString(grid_id)),
            ('village', substring(grid_id, 1, 12)),
            ('street', substring(grid_id, 1, 9)),
            ('district', substring(grid_id, 1, 6)),
            ('item', toString(item_code))]) AS d,
        arrayJoin([
            ('day', day),
            ('week', toMonday(day)),
            ('month', toStartOfMonth(day)),
            ('all', toDate('1970-01-01'))]) AS p
    FROM v_case_chain
    WHERE status != 'void'
)
GROUP BY dimension, key, period, period_start, step
COMMENT '响应时长 median and 90 % of each step from first seen to settled';

ALTER TABLE v_response_times
    COMMENT COLUMN dimension '维度 grid, village, street, district or item',
    COMMENT COLUMN key '编码 id of that grid, village …',
    COMMENT COLUMN period '周期 day, week (from Monday), month, or all: from the beginning',
    COMMENT COLUMN period_start '周期首日 first day, in Asia/Shanghai; 1970-01-01 of all',
    COMMENT COLUMN step '环节 from one time of v_case_chain to another',
    COMMENT COLUMN cases '案件数 cases that have both times; void ones are left out',
    COMMENT COLUMN p50_ms '中位毫秒 half of the cases took at most so long',
    COMMENT COLUMN p90_ms '九成毫秒 nine of ten took at most so long';

-- 守恒核对: what the ledger says against where the cases stand. Not 0 for longer than the sink is behind: a fault.
CREATE OR REPLACE VIEW v_conservation AS
SELECT
    grid_id,
    sum(r) AS reported,
    sum(a) AS archived,
    sum(o) AS open,
    sum(v) AS void,
    reported - archived - open - void AS difference
FROM
(
    SELECT grid_id, 1 AS r, toInt64(status = 'archived') AS a, 0 AS o, toInt64(status = 'void') AS v FROM v_case_chain
    UNION ALL
    SELECT grid_id, 0 AS r, 0 AS a, toInt64(stage != 'archived') AS o, 0 AS v FROM cases FINAL
)
GROUP BY grid_id
COMMENT '守恒核对 reported = archived + open + void; open is counted from the cases, the rest from the ledger';

ALTER TABLE v_conservation
    COMMENT COLUMN grid_id '网格编码15位 grid, 15 digits',
    COMMENT COLUMN reported '上报数 cases opened, by the ledger',
    COMMENT COLUMN archived '归档数 archived and not reopened, by the ledger',
    COMMENT COLUMN open '在办数 open, by the cases themselves',
    COMMENT COLUMN void '作废数 void, by the ledger',
    COMMENT COLUMN difference '差额 reported − archived − open − void: 0';
