# bash completion for stpn

_stpn() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    local commands="train eval compare reproduce sweep verify bench info inspect trace play export help"
    COMPREPLY=()

    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
        return
    fi
    case $command,$previous in
        train,--out | reproduce,--out | reproduce,--experiments | sweep,--out | export,--out)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            return
            ;;
        trace,--out | play,--gif | play,--video)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
        train,--set | train,--seed | train,--seeds | train,--threads | eval,--examples | eval,--iterations | eval,--threads | bench,--threads | trace,--sequence | trace,--index | trace,--steps | play,--seed | play,--steps | play,--fps | export,--name) return ;;
        reproduce,--seeds | reproduce,--epochs | reproduce,--iterations | reproduce,--steps | reproduce,--set | reproduce,--jobs | reproduce,--threads) return ;;
        sweep,--set | sweep,--jobs | sweep,--threads | sweep,--array) return ;;
        bench,--size)
            mapfile -t COMPREPLY < <(compgen -W "retrieval maze maze-post pong" -- "$current")
            return
            ;;
        bench,--unit)
            mapfile -t COMPREPLY < <(compgen -W "$(stpn info 2>/dev/null | sed -n 's/^unit *\([^:]*\):.*/\1/p')" -- "$current")
            return
            ;;
        eval,--policy)
            mapfile -t COMPREPLY < <(compgen -W "random oracle" -- "$current")
            return
            ;;
        verify,--kernel)
            mapfile -t COMPREPLY < <(compgen -W "portable avx2 avx512 neon" -- "$current")
            return
            ;;
        eval,--energy-table | inspect,--energy-table)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
    esac

    local options=""
    case $command in
        train) options="--set --seed --seeds --out --resume --any-kernel --threads --quiet --profile" ;;
        eval) options="--json --best --examples --greedy --iterations --policy --threads --energy-table" ;;
        compare) options="--json --csv --markdown" ;;
        reproduce) options="--seeds --epochs --iterations --steps --set --out --jobs --threads --experiments --figures --any-kernel --quiet" ;;
        sweep) options="--set --out --jobs --threads --array --list --figures --any-kernel --quiet" ;;
        verify) options="--json --kernel" ;;
        bench) options="--size --tokens --unit --threads --all-kernels --json" ;;
        info) options="--json" ;;
        inspect) options="--json --best --energy-table" ;;
        trace) options="--sequence --index --steps --best --out --json" ;;
        play) options="--seed --steps --fps --greedy --best --gif --video --quiet" ;;
        export) options="--name --out --best --json" ;;
        help) options="$commands keys" ;;
    esac
    if [[ $current == -* || $command == help ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
        return
    fi
    case $command in
        train | sweep | verify)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            ;;
        reproduce) mapfile -t COMPREPLY < <(compgen -W "retrieval familiarity maze" -- "$current") ;;
        eval | compare | inspect | trace | play | export)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            ;;
    esac
}

complete -F _stpn stpn
