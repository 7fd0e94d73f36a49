-- Adds a column with a default: metadata only, rewrites and locks nothing.
ALTER TABLE reports ADD COLUMN IF NOT EXISTS media Array(String) COMMENT '图片引用 references of pictures, never the pictures' AFTER reported_by;

CREATE OR REPLACE VIEW v_reports AS SELECT * FROM reports FINAL
COMMENT '网格员与群众上报 reports of workers and residents';
