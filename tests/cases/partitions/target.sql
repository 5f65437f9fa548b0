-- only mariadb
CREATE TABLE by_year (id int, y int, v varchar(20), PRIMARY KEY (id, y))
  PARTITION BY HASH (y) PARTITIONS 4;
CREATE TABLE too_late (id int, y int, v varchar(20), PRIMARY KEY (id, y))
  PARTITION BY RANGE (y) (PARTITION p0 VALUES LESS THAN (2025));
-- only mysql
CREATE TABLE by_hash (id int PRIMARY KEY, v varchar(20)) PARTITION BY KEY (id) PARTITIONS 2;
CREATE TABLE too_late (id int, y int, v varchar(20), PRIMARY KEY (id, y))
  PARTITION BY RANGE (y) (PARTITION p0 VALUES LESS THAN (2025));
