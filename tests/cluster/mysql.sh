# MySQL's arguments are for MySQL; what they ask for is MariaDB's default, but for the place of the data.
set -e
[ -d /var/lib/mysql/mysql ] || mariadb-install-db --datadir=/var/lib/mysql --skip-test-db > /dev/null
exec mariadbd --datadir=/var/lib/mysql --bind-address=0.0.0.0 --skip-grant-tables --skip-name-resolve \
  --socket=/tmp/mysql.sock --pid-file=/tmp/mysql.pid --tmpdir=/tmp
