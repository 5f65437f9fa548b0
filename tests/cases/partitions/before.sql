CREATE TABLE by_year (id int, y int, v varchar(20), PRIMARY KEY (id, y))
  PARTITION BY RANGE (y) (
    PARTITION p0 VALUES LESS THAN (2020), PARTITION p1 VALUES LESS THAN (2022),
    PARTITION pm VALUES LESS THAN MAXVALUE);
CREATE TABLE by_hash (id int PRIMARY KEY, v varchar(20)) PARTITION BY HASH (id) PARTITIONS 3;
CREATE TABLE too_late LIKE by_year;
INSERT INTO by_year VALUES (1, 2019, 'a'), (2, 2021, 'b'), (3, 2030, 'c'), (4, 2021, NULL), (1, 2020, 'd');
INSERT INTO by_hash VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, NULL);
INSERT INTO too_late SELECT * FROM by_year;
