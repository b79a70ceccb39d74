# dpkg and apt: what is installed, all its files, and a package that is built, installed, upgraded and removed.
dpkg-query -W -f '${Package} ${Version} ${Status}\n'
dpkg -l | tail -n +6 | wc -l
dpkg -S /bin/bash /usr/bin/perl; dpkg -L sqlite3 | sort | tail -2; dpkg -s apt | grep ^Status; dpkg --audit && echo sound
dpkg --verify; echo "verified: $?"
export SOURCE_DATE_EPOCH=1000000000
cd /tmp && mkdir -p repo build/DEBIAN build/usr/bin build/etc && cd build || exit
package() {
    printf '#!/bin/sh\necho greetings %s\n' "$1" > usr/bin/greet; chmod 755 usr/bin/greet; echo "tone=$1" > etc/greet.conf
    printf 'Package: greet\nVersion: %s\nArchitecture: all\nDepends: bash, lua5.4 (>= 5.4)\nMaintainer: nobody <nobody@localhost>\nDescription: says it\n' "$1" > DEBIAN/control
    echo /etc/greet.conf > DEBIAN/conffiles
    printf '#!/bin/sh\necho "postinst $1 $2"\n' > DEBIAN/postinst; printf '#!/bin/sh\necho "prerm $1 $2"\n' > DEBIAN/prerm
    chmod 755 DEBIAN/postinst DEBIAN/prerm
    dpkg-deb --root-owner-group -Zgzip -b . "$2" | sed 's/building/built/'
}
package 1.0 /tmp/greet_1.0.deb; package 2.0 /tmp/repo/greet_2.0.deb
dpkg-deb -I /tmp/greet_1.0.deb | grep Version; dpkg-deb -c /tmp/greet_1.0.deb | awk '{ print $1, $2, $6 }'
dpkg -i /tmp/greet_1.0.deb && greet && dpkg -V greet && echo intact
echo 'tone=own' > /etc/greet.conf; dpkg -V greet
cd /tmp/repo; { dpkg-deb -f greet_2.0.deb; echo "Filename: ./greet_2.0.deb"; echo "Size: $(stat -c %s greet_2.0.deb)"
    echo "SHA256: $(sha256sum greet_2.0.deb | cut -d ' ' -f 1)"; } > Packages
echo 'deb [trusted=yes] file:/tmp/repo ./' > /etc/apt/sources.list
apt-get -q update 2>&1 | grep -v '^\(Get\|Ign\|Fetched\)'; apt-cache policy greet | head -3
apt-get -q -y -o Dpkg::Options::=--force-confold upgrade 2>&1 | grep -v '^(Reading database'; greet; cat /etc/greet.conf
apt-get -q -y purge greet 2>&1 | grep -v '^(Reading database'; ls /usr/bin/greet /etc/greet.conf 2>&1; dpkg -s greet 2>&1 | head -1
echo broken > /tmp/broken.deb; dpkg -i /tmp/broken.deb 2>&1 | head -2
dpkg-divert --list | sort; update-alternatives --display awk | head -3; ldconfig -p | head -1; debconf-show tzdata | sort | head -3
adduser --disabled-password --gecos '' somebody 2>&1 | tail -1; su somebody -c 'id; cd; pwd; touch /etc/x 2>&1; cat /etc/shadow 2>&1'
