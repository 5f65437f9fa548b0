CREATE TABLE events (
  at datetime(6) NOT NULL,
  level enum('debug', 'info', 'error') DEFAULT NULL,
  host varchar(64),
  line longtext CHARACTER SET utf8mb4,
  INDEX (at)
) ENGINE=InnoDB;
CREATE TABLE hits (
  day date NOT NULL, page varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  times bigint NOT NULL, UNIQUE KEY day_page (day, page)
) ENGINE=InnoDB;
SET NAMES utf8mb4;
INSERT INTO events VALUES
  ('2024-05-01 00:00:00.000001', 'info', 'web-1', 'GET / 200'),
  ('2024-05-01 00:00:00.000001', 'info', 'web-1', 'GET / 200'),
  ('2024-05-01 00:00:00.000001', 'info', 'web-1', 'GET / 200'),
  ('2024-05-01 00:00:01', 'error', NULL, 'tab\t, newline\n, quote \" and \\ backslash'),
  ('2024-05-01 00:00:02', NULL, '', REPEAT('é😀', 5000));
INSERT INTO hits VALUES ('2024-05-01', '/', 3), ('2024-05-01', '/a', 1), ('2024-05-01', '/A', 1),
  ('2024-05-02', '/a ', 7);
