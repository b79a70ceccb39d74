# grep, sed, awk, perl, sqlite, lua and python.
seq 1 1000 | grep -c 7; seq 1 20 | sed -n '5,7s/^/line /p;$p'
seq 1 1000 | awk '{ s += $1; n[$1 % 3]++ } END { print s, n[0], n[1]; printf "%5.2f|%x\n", s / 7, s }'
perl -e 'my %h = map { $_ => $_ ** 2 } 1 .. 5; print join(",", map { "$_=$h{$_}" } sort keys %h), "\n"; print "ok\n" if "banana" =~ /^(b(an)+)a$/; printf "%s\n", scalar reverse "abc"'
perl -e 'open my $f, ">", "/tmp/perl.txt" or die; print $f "line $_\n" for 1 .. 3; close $f; open $f, "<", "/tmp/perl.txt"; print scalar(() = <$f>), "\n"; print `echo from a shell`'
sqlite3 /tmp/test.db 'create table t(a integer primary key, b text); insert into t(b) values ("x"), ("y"), ("z"); begin; update t set b = b || a; commit; select sum(a), group_concat(b) from t; pragma integrity_check;'
sqlite3 /tmp/test.db 'with recursive c(x) as (select 1 union all select x + 1 from c where x < 1000) select sum(x) from c'
lua5.4 -e 'local t = {} for i = 1, 10 do t[#t + 1] = i * i end print(table.concat(t, " "), math.type(3 // 2), ("x"):rep(5))'
python3 -S -c 'import os, sys; r, w = os.pipe(); p = os.fork()
if p == 0: os.write(w, b"from a child"); os._exit(7)
print(os.read(r, 100), os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]), sum(i * i for i in range(1000)), sys.byteorder)'
python3 -S -c 'import os; os.makedirs("/tmp/py/a/b"); open("/tmp/py/a/f", "w").write("x" * 70000); print(sorted(os.listdir("/tmp/py/a")), os.stat("/tmp/py/a/f").st_size, os.path.exists("/nope"))'
