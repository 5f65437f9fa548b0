CREATE TABLE on_disk (id int PRIMARY KEY, v varchar(20)) ENGINE=MyISAM;
CREATE TABLE in_memory (id int PRIMARY KEY, v varchar(20)) ENGINE=MEMORY;
CREATE TABLE unpurgeable (id int PRIMARY KEY, v varchar(20)) ENGINE=MyISAM;
CREATE TABLE unwritable (id int PRIMARY KEY, v varchar(20)) ENGINE=InnoDB;
INSERT INTO on_disk VALUES (1, 'a'), (2, NULL), (3, '');
INSERT INTO in_memory SELECT * FROM on_disk;
INSERT INTO unpurgeable SELECT * FROM on_disk;
INSERT INTO unwritable SELECT * FROM on_disk;
