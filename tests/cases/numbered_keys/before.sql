CREATE TABLE by_enum (k enum('b', 'a', 'c') PRIMARY KEY, v int);
CREATE TABLE by_set (k set('b', 'a', 'c') PRIMARY KEY, v int);
CREATE TABLE by_bits (k bit(9) PRIMARY KEY, v int);
CREATE TABLE by_both (n int, k enum('b', 'a', 'c'), v int, PRIMARY KEY (n, k));
INSERT INTO by_enum VALUES ('a', 1), ('b', 2), ('c', 3);
INSERT INTO by_set VALUES ('', 1), ('a,b', 2), ('c', 3);
INSERT INTO by_bits VALUES (b'0', 1), (b'111111111', 2), (b'101', 3);
INSERT INTO by_both VALUES (1, 'c', 1), (1, 'b', 2), (2, 'a', 3);
