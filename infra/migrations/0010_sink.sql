-- What the sink says of itself: how far it is, and whether everything arrived. Creates only: locks nothing, rewrites nothing.

CREATE TABLE IF NOT EXISTS sink_progress
(
    sink LowCardinality(String) COMMENT '入库进程 name of the process',
    topic LowCardinality(String) COMMENT '主题 topic it read',
    at DateTime64(3, 'UTC') COMMENT '统计时间 end of the interval, ten seconds',
    records Int64 COMMENT '记录数 records written in the interval',
    rejects Int64 COMMENT '不可入库数 records of them that are no row',
    lag Int64 COMMENT '积压 records of the topic that the process had not committed',
    freshness_ms Int64 COMMENT '入库延迟毫秒 longest time from the append of a record to its row, in the interval',
    write_ms Int64 COMMENT '写入毫秒 longest write of the interval'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (topic, at, sink)
TTL toDateTime(at) + INTERVAL 90 DAY
COMMENT '入库进度 how far and how fresh the tables are, by topic';

CREATE TABLE IF NOT EXISTS reconciliations
(
    at DateTime64(3, 'UTC') COMMENT '核对时间 when it was counted',
    topic LowCardinality(String) COMMENT '主题 topic that was read',
    `table` LowCardinality(String) COMMENT '数据表 table it lands in',
    records Int64 COMMENT '记录数 records read from the topic',
    repeats Int64 COMMENT '重复数 records that repeat another one, or are its older version',
    bad Int64 COMMENT '不可入库数 records that are no row',
    expected Int64 COMMENT '应有行数 records less repeats and bad ones',
    missing Int64 COMMENT '缺失行数 of these, rows that no view shows',
    twice Int64 COMMENT '多余行数 rows of the topic that a view shows more than once'
)
ENGINE = ReplacingMergeTree
ORDER BY (at, topic)
TTL toDateTime(at) + INTERVAL 3 YEAR
COMMENT '每日核对 topics against tables, once a day';

CREATE OR REPLACE VIEW v_sink_progress AS SELECT * FROM sink_progress FINAL
COMMENT '入库进度 how far and how fresh the tables are, by topic';

CREATE OR REPLACE VIEW v_reconciliations AS SELECT * FROM reconciliations FINAL
COMMENT '每日核对 topics against tables, once a day';
