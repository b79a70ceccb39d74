# Pipes, here-documents, redirections, background jobs and signals.
seq 1 10000 | awk '{ s += $1 } END { print s }'
seq 1 100000 | tr -d '\n' | wc -c; yes | head -n 100000 | md5sum; cat /dev/zero | head -c 3000000 | tr '\0' 'a' | md5sum
i=0; while [ $i -lt 8 ]; do seq $((i * 1000 + 1)) $((i * 1000 + 1000)); i=$((i + 1)); done | sort -rn | sed -n '1p;$p' | tr '\n' ' '; echo
seq 1 5000 | cat | cat | cat | cat | cat | cat | cat | cat | tail -n 1
cat <<END | tr a-z A-Z
one $((6 * 7)) $(echo inside)
END
cat <<'END' | wc -w
no $expansion `here` at all
END
cat <<-END
	tabs are gone
	END
x=$(cat <<END
$(seq 1 2000)
END
); echo ${#x}
f() { echo out; echo err >&2; }; f 2>/dev/null; f 2>&1 >/dev/null; { f; f; } 2>/tmp/errors | wc -l; wc -l < /tmp/errors
echo first > /tmp/r; echo second >> /tmp/r; exec 5<> /tmp/r; read a <&5; echo "read $a"; echo third >&5; exec 5>&-; cat /tmp/r | tr '\n' ' '; echo
(set -C; echo no > /tmp/r) 2>/dev/null || echo kept
for n in 1 2 3 4 5 6; do (sleep 0.$n; exit $n) & jobs="$jobs $!"; done
for j in $jobs; do wait $j; printf '%s ' $?; done; echo
sleep 100 & p=$!; kill $p; wait $p; echo "killed: $?"
sleep 100 & p=$!; kill -STOP $p; sleep 0.2; sed -n 's/^State:.\(.\).*/\1/p' /proc/$p/status; kill -CONT $p; kill -KILL $p; wait $p; echo "killed: $?"
(trap 'echo caught; exit 5' TERM; while :; do sleep 0.05; done) & p=$!; sleep 0.3; kill $p; wait $p; echo "status $?"
mkfifo /tmp/fifo; for n in 1 2 3; do seq 1 1000 > /tmp/fifo & done; sort -n /tmp/fifo | uniq -c | awk '$1 != 3' | wc -l; wait
yes 2>/dev/null | head -n 1; (sleep 0.1; echo late) | (read x; echo "got $x"); true | false; echo $?
seq 1 200 | xargs -n 7 echo | wc -l; seq 1 40 | xargs -P 4 -n 1 sh -c 'echo $(($0 * 2))' | awk '{ s += $1 } END { print s }'
