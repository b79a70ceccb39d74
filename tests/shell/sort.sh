# 50 MiB of lines in no order, made by a generator that anybody can follow (Park and Miller's).
cd /tmp; awk 'BEGIN { x = 1; for (i = 0; i < 131072; i++) { x = x * 16807 % 2147483647; printf "%010d %0388d\n", x, i } }' > lines
stat -c %s lines; md5sum < lines; sort -c lines 2>/dev/null || echo in no order
sort lines > sorted; sort -c sorted && md5sum < sorted; head -n 1 sorted | cut -c 1-10; tail -n 1 sorted | cut -c 1-10
cut -c 12- sorted | sort | uniq | md5sum; stat -c %s sorted
