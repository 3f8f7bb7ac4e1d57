#!/bin/sh
# Runs as root in a board's namespaces, with a mount namespace of its own besides. Starts a program
# of the board in the emulator of KIT, which counts, in place of the one that the kernel would take.
# What it mounts on the board is seen by this program alone. Its environment becomes the program's.
#
#   count_instructions.sh ROOT KIT OUT USER MEMORY PROGRAM [ARGUMENT...]
set -eu
root=$1
kit=$2
out=$3
user=$4
memory=$5
program=$6
shift 6

ulimit -c 0 # who dies here shall leave no core on the board
path=$PATH
PATH=/usr/sbin:/usr/bin:/sbin:/bin
place=run/edgekit-count
mkdir -p "$root/$place/kit" "$root/$place/out"
mount --bind "$kit" "$root/$place/kit"
mount --bind "$out" "$root/$place/out"

# name:password:uid:gid:comment:home:shell
IFS=: read -r _ _ uid gid _ home _ <<END
$(grep "^$user:" "$root/etc/passwd")
END

# The emulator takes a file where a shell would look for a name. A link may be one that only the
# board can follow.
case $program in
*/*) ;;
*)
    found=
    IFS=:
    for folder in $path; do
        if [ -f "$root$folder/$program" ] || [ -L "$root$folder/$program" ]; then
            found=$folder/$program
            break
        fi
    done
    unset IFS
    if [ -z "$found" ]; then
        echo "$program: not found on the board" >&2
        exit 127
    fi
    program=$found
    ;;
esac

setarch=$(command -v setarch)
nsenter=$(command -v nsenter)
unset PWD OLDPWD
PATH=$path
# Addresses that differ from run to run would change what a program that sorts or hashes them does.
# The loader is called by name: the board has one for other machines at the path that is built in.
exec "$setarch" --addr-no-randomize \
    "$nsenter" --root="$root" --wd="$root$home" --setuid "$uid" --setgid "$gid" \
    "/$place/kit/loader" --inhibit-cache --library-path "/$place/kit/lib" "/$place/kit/emulator" \
    -plugin "/$place/kit/plugin.so,out=/$place/out/counts,memory=$memory" -seed 1 "$program" "$@"
