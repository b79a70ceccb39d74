# procps and lsof: what they read of /proc is there and means what they think.
sleep 100 & p=$!
ps -o comm=,args= -p $p
[ "$(ps -o ppid= -p $p | tr -d ' ')" = $$ ] && echo "its parent is this shell"
[ "$(ps -o ppid,pid,pgid,sid,ni,pri -p $p | wc -l)" = 2 ] && echo "one line of numbers"
ps -eo pid,comm | grep -c ' sleep$'
ps aux | awk 'NR == 1 { print } /[s]leep 100/ { print $1, NF, $11, $12 }'
ps -ef | awk '/[s]leep 100/ { print $1, $8, $9 }'
ps -eLf | awk '/[s]leep 100/ { print $6 }'
pgrep -x sleep | grep -cx $p
pidof sleep | grep -c $p
pmap $p | sed -n "1s/^$p: *//p"
pmap $p | grep -q 'libc.so' && echo "the library has a name"
pmap $p | tail -1 | awk '{ print $1, ($2 > 0) }'
free | awk 'NR == 1 { print } /Mem/ { print ($2 > 0), ($3 > 0), ($4 > 0), ($7 > 0) }'
uptime | grep -c 'load average: [0-9.]*, [0-9.]*, [0-9.]*$'
vmstat | awk 'NR == 3 { print NF, ($4 > 0) }'
vmstat 1 2 | tail -1 | awk '{ print ($13 + $14 + $15 + $16 + $17 >= 98) }'
lsof -p $p -a -d cwd,rtd,txt 2>/dev/null | awk '{ print $1, $4, $5 }' | sort
w -h | wc -l
kill $p
