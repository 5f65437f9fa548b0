SET NAMES utf8mb4;
SET sql_mode = 'ALLOW_INVALID_DATES';
CREATE TABLE Blog_Posts (
  ID bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  post_author bigint(20) unsigned NOT NULL DEFAULT 0,
  post_date datetime DEFAULT '0000-00-00 00:00:00',
  post_content longtext COLLATE utf8mb4_unicode_ci NOT NULL,
  post_title text COLLATE utf8mb4_unicode_ci NOT NULL,
  post_name varchar(200) COLLATE utf8mb4_unicode_ci NOT NULL DEFAULT '',
  menu_order int(11) NOT NULL DEFAULT 0,
  PRIMARY KEY (ID), KEY post_name (post_name(191)), KEY post_author (post_author)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
CREATE TABLE Blog_postmeta (
  meta_id bigint(20) unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  post_id bigint(20) unsigned NOT NULL DEFAULT 0,
  meta_key varchar(255) DEFAULT NULL, meta_value longtext,
  KEY post_id (post_id), KEY meta_key (meta_key(191))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
CREATE TABLE Blog_options (
  option_id bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  option_name varchar(191) NOT NULL, option_value longtext NOT NULL,
  autoload varchar(20) NOT NULL DEFAULT 'yes',
  PRIMARY KEY (option_id), UNIQUE KEY option_name (option_name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
INSERT INTO Blog_Posts VALUES
  (1, 1, '2019-03-10 02:15:00', '<p>Hello \\ "world" &amp; ''all''</p>\n', 'Hällo', 'hallo', 0),
  (2, 1, '0000-00-00 00:00:00', '', 'Draft', '', -1),
  (5, 0, '2024-02-30 10:00:00', REPEAT('lorem ipsum 😀 ', 2000), '', 'x', 2147483647),
  (18446744073709551614, 2, NULL, '\0', ' ', ' ', 0);
INSERT INTO Blog_postmeta VALUES
  (1, 1, '_edit_lock', '1552184100:1'), (2, 1, NULL, NULL),
  (3, 5, '_wp_attachment_metadata', 'a:2:{s:5:"width";i:1;s:4:"file";s:7:"é.jpg";}');
INSERT INTO Blog_options VALUES
  (1, 'siteurl', 'https://example.org', 'yes'), (2, '_transient_É', '', 'no'),
  (3, 'Widget_Text', 'a:0:{}', 'yes');
