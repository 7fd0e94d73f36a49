-- What dashboards ask most of, asked of fewer rows: cases by hour and level alone, cases by day, grids by name. The projections of
-- a month are written with it from now on; those of months that are there already are written now (a minute for ten years).

ALTER TABLE r_case_hours
    ADD PROJECTION IF NOT EXISTS totals
    (
        SELECT
            hour,
            level,
            sum(opened),
            sum(archived),
            sum(reopened),
            sum(voided),
            sum(acknowledged),
            sum(handled),
            sum(returned),
            sum(reworked),
            sum(warned),
            sum(breached),
            sum(escalated)
        GROUP BY hour, level
    ),
    ADD PROJECTION IF NOT EXISTS days
    (
        SELECT
            toDate(hour, 'Asia/Shanghai'),
            grid_id,
            item_code,
            sum(opened),
            sum(archived),
            sum(reopened),
            sum(voided),
            sum(acknowledged),
            sum(handled),
            sum(returned),
            sum(reworked),
            sum(warned),
            sum(breached),
            sum(escalated)
        GROUP BY toDate(hour, 'Asia/Shanghai'), grid_id, item_code
    );

ALTER TABLE r_case_hours MATERIALIZE PROJECTION totals, MATERIALIZE PROJECTION days;

CREATE TABLE IF NOT EXISTS r_grids
(
    grid_id LowCardinality(String) COMMENT '网格编码15位 grid, 15 digits',
    name String COMMENT '网格名称 name of the grid',
    name_en String COMMENT '网格英文名称 its name in English',
    village_id LowCardinality(String) COMMENT '村编码12位 village, 12 digits',
    village LowCardinality(String) COMMENT '村名 name of the village',
    street_id LowCardinality(String) COMMENT '街道编码9位 street, 9 digits',
    street LowCardinality(String) COMMENT '街道名 name of the street',
    as_of DateTime64(3, 'UTC') COMMENT '登记时间 when this edition of the registry was taken up here',
    known_since DateTime64(3, 'UTC') COMMENT '首次登记时间 when an edition with this grid was first taken up here'
)
ENGINE = MergeTree
ORDER BY grid_id
COMMENT '网格 grids of the district as it is now, for dashboards: v_grids written down';
