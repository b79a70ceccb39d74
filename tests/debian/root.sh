# All of the root: what each file is, what is in it, and a large part of it through tar and gzip and back.
cd / && find . -xdev -mindepth 1 \( -path ./dev -o -path ./proc -o -path ./sys -o -path ./tmp \) -prune -o -printf '%y %m %n %U:%G %p %l\n' > /tmp/list
grep -v '^d' /tmp/list | wc -l; grep '^d' /tmp/list | awk '{ print $1, $2, $4, $5 }' | sort | md5sum; grep -v '^d' /tmp/list | sort | md5sum
grep '^l' /tmp/list | wc -l; awk '$3 > 1 && $1 == "f"' /tmp/list | sort; awk '$2 > 1777 || $2 ~ /^[4267]...$/' /tmp/list | sort
find /etc /usr/share /var/lib/dpkg/info -type f -print0 | sort -z | xargs -0 cat | md5sum
parts="usr/bin usr/lib/python3.11 usr/share/perl5 usr/share/man"
mkdir /tmp/again && tar -cf - $parts | gzip -1 | gzip -d | tar -xf - -C /tmp/again
for part in $parts; do diff -r --no-dereference $part /tmp/again/$part && find /tmp/again/$part | wc -l; done
tar -cf - usr/bin | tar -C /tmp/again -df - && echo as it was; echo >> /tmp/again/usr/bin/who; tar -cf - usr/bin | tar -C /tmp/again -df -
chroot /tmp/again /usr/bin/true 2>&1; rm -rf /tmp/again; ls /tmp/again 2>&1
