# coreutils, findutils, diffutils, tar and gzip on a tree of files.
umask 022; cd /tmp && mkdir tree && cd tree || exit
for i in $(seq 1 300); do mkdir -p d$((i % 7)); echo "file $i" > d$((i % 7))/f$i; done
find . -type f | wc -l
find . -name 'f*7' | sort | xargs cat | sort -k2n | tail -2
ln -s d1/f1 link; ln d1/f1 hard; readlink link; stat -c '%h %F' d1/f1 link
tar cf - . | gzip -9 > ../tree.tgz; mkdir ../copy; gzip -dc ../tree.tgz | tar xf - -C ../copy
diff -r . ../copy && echo equal
cp -a d1 d1.new; mv d1.new renamed; rm -r d2; ls | tr '\n' ' '; echo
chmod 4750 d1/f1; stat -c '%a %s %U' d1/f1; touch -d 2001-02-03 d1/f8; date -r d1/f8 +%Y-%m-%d
dd if=/dev/zero of=sparse bs=1 count=1 seek=1000000 2>/dev/null; stat -c %s sparse; du -k sparse | cut -f1
truncate -s 5 hard; od -c hard | head -1; cmp d1/f1 hard && echo same
head -c 100000 /dev/zero | tr '\0' 'x' | sha256sum; seq 1 20000 | sort -R | sort -n | md5sum
mkfifo pipe; (cat pipe > out &); echo through > pipe; sleep 0.2; cat out
rmdir d3 2>&1 | sed 's/.*: //'; rm d3/*; rmdir d3 && echo gone; cat missing 2>&1 | sed 's/.*: //'
