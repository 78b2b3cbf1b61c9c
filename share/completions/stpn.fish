# fish completion for stpn

complete -c stpn -f

complete -c stpn -n __fish_use_subcommand -a train -d 'Train an experiment'
complete -c stpn -n __fish_use_subcommand -a eval -d 'Evaluate a run'
complete -c stpn -n __fish_use_subcommand -a verify -d 'Check the computation against golden files'
complete -c stpn -n __fish_use_subcommand -a bench -d 'Measure the speed'
complete -c stpn -n __fish_use_subcommand -a info -d 'Tell the version and the kernels'
complete -c stpn -n __fish_use_subcommand -a inspect -d 'Describe a run'
complete -c stpn -n __fish_use_subcommand -a help -d 'Explain the commands'

complete -c stpn -n '__fish_seen_subcommand_from train' -F
complete -c stpn -n '__fish_seen_subcommand_from train' -l set -x -d 'Change one value: KEY=VALUE'
complete -c stpn -n '__fish_seen_subcommand_from train' -l seed -x -d 'Take this seed'
complete -c stpn -n '__fish_seen_subcommand_from train' -l seeds -x -d 'Train once with each seed: 0-4 or 0,2,5'
complete -c stpn -n '__fish_seen_subcommand_from train' -l out -x -a '(__fish_complete_directories)' -d "The run's folder"
complete -c stpn -n '__fish_seen_subcommand_from train' -l resume -d 'Go on from the last checkpoint'
complete -c stpn -n '__fish_seen_subcommand_from train' -l any-kernel -d 'Resume although another kernel wrote the checkpoint'
complete -c stpn -n '__fish_seen_subcommand_from train' -l quiet -d 'Print no progress and no result'

complete -c stpn -n '__fish_seen_subcommand_from eval inspect' -a '(__fish_complete_directories)'
complete -c stpn -n '__fish_seen_subcommand_from eval inspect' -l energy-table -r -F -d 'Picojoules of an operation'
complete -c stpn -n '__fish_seen_subcommand_from eval' -l best -d 'Take the parameters of the best evaluation'
complete -c stpn -n '__fish_seen_subcommand_from eval' -l examples -x -d 'Number of sequences to show'

complete -c stpn -n '__fish_seen_subcommand_from verify' -F
complete -c stpn -n '__fish_seen_subcommand_from verify' -l kernel -x -a 'portable avx2 avx512 neon' -d 'Take this kernel'

complete -c stpn -n '__fish_seen_subcommand_from bench' -l size -x -a 'retrieval maze maze-post pong' -d 'What is measured; or B,T,I,H'
complete -c stpn -n '__fish_seen_subcommand_from bench' -l unit -x -a '(stpn info 2>/dev/null | string match -rg "^unit *([^:]*):")' -d 'The unit'
complete -c stpn -n '__fish_seen_subcommand_from bench' -l all-kernels -d 'Measure every kernel that this processor runs'

complete -c stpn -n '__fish_seen_subcommand_from train eval bench' -l threads -x -d 'Number of threads'
complete -c stpn -n '__fish_seen_subcommand_from eval verify bench info inspect' -l json -d 'Print one JSON document'

complete -c stpn -n '__fish_seen_subcommand_from help' -a 'train eval verify bench info inspect keys'
