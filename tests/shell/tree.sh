# A tree of 1,000 files: made, looked at, copied, compared, packed and unpacked.
cd /tmp && mkdir tree && cd tree || exit
n=0; while [ $n -lt 1000 ]; do d=d$((n % 10))/e$((n / 10 % 10)); [ -d $d ] || mkdir -p $d
    i=0; while [ $i -le $((n % 5)) ]; do echo "file $n line $i"; i=$((i + 1)); done > $d/f$n; n=$((n + 1)); done
find . -type f | wc -l; find . -type d | wc -l; find . -type f | sort | xargs cat | md5sum; find . -type f | sort | md5sum
find . -name 'f*7' | wc -l; find . -type f -size -30c | wc -l; find . -type f -print0 | xargs -0 md5sum | sort -k 2 | md5sum
grep -rl 'file 77[0-9] line 3' . | sort | tr '\n' ' '; echo
ln d0/e0/f0 hard; ln -s d1/e1 soft; chmod 4751 d2/e2/f22; touch -d '2001-02-03 04:05:06' d3/e3/f33; head -c 1000000 /dev/zero > zeros; mkfifo pipe
cp -a . /tmp/copy && diff -r d0 /tmp/copy/d0 && for d in 1 2 3 4 5 6 7 8 9; do diff -r d$d /tmp/copy/d$d; done && echo the copy is equal
cd /tmp/copy; stat -c '%a %h %F' d2/e2/f22 d3/e3/f33 soft pipe; stat -c %Y d3/e3/f33; readlink soft; find . -type f | sort | xargs cat | md5sum
echo changed >> d4/e4/f44; diff -rq /tmp/tree/d4 d4; cd ..
tar cf - tree | gzip > tree.tgz; mkdir back; gzip -dc tree.tgz | tar xf - -C back; diff -r tree/d0 back/tree/d0 && cmp tree/zeros back/tree/zeros && echo unpacked
tar tzf tree.tgz | wc -l; tar tzf tree.tgz tree/d5/e5 | sort | md5sum; gzip -t tree.tgz && echo sound; head -c 5000 tree.tgz | gzip -t 2>/dev/null || echo broken
ls -i back/tree/hard back/tree/d0/e0/f0 | awk '{ print $1 }' | uniq | wc -l; stat -c %Y back/tree/d3/e3/f33
mv copy/d5 copy/d6/; find copy/d6 -type f | wc -l; find copy -type f -exec rm {} +; find copy -type f | wc -l; rm -r copy tree back; ls -d tree copy back 2>/dev/null | wc -l
