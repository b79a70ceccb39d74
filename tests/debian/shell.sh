# dash and bash: loops, functions, here-documents, background jobs, traps, arrays.
for i in 3 1 2; do echo $i; done | sort | tr '\n' ' '
echo
f() { local x=$1; [ "$x" -le 1 ] && { echo 1; return; }; echo $((x * $(f $((x - 1))))); }
f 6
cat <<END | wc -l
a here-document
of two lines
END
(sleep 0.1; exit 3) & wait $!; echo "status $?"
trap 'echo on exit' EXIT
set -- a 'b c' d; echo $# "$2"
case file.txt in *.txt) echo text ;; esac
bash -c 'a=(1 2 3); a+=(4); echo ${#a[@]} ${a[-1]} ${a[*]/2/two}; [[ abc =~ b(.) ]] && echo ${BASH_REMATCH[1]}'
bash -c 'diff <(seq 1 3) <(seq 2 4)' </dev/null 2>/dev/null | wc -l | grep -c . 
no-such-command 2>/dev/null || echo "not found: $?"
kill -TERM $$ 2>/dev/null & wait; echo never
