# fish completion for stpn

complete -c stpn -f

complete -c stpn -n __fish_use_subcommand -a train -d 'Train an experiment'
complete -c stpn -n __fish_use_subcommand -a eval -d 'Evaluate a run'
complete -c stpn -n __fish_use_subcommand -a compare -d 'Compare runs'
complete -c stpn -n __fish_use_subcommand -a reproduce -d 'Train every network of an experiment of the paper'
complete -c stpn -n __fish_use_subcommand -a sweep -d 'Try many settings of an experiment'
complete -c stpn -n __fish_use_subcommand -a verify -d 'Check the computation against golden files'
complete -c stpn -n __fish_use_subcommand -a bench -d 'Measure the speed'
complete -c stpn -n __fish_use_subcommand -a info -d 'Tell the version and the kernels'
complete -c stpn -n __fish_use_subcommand -a inspect -d 'Describe a run'
complete -c stpn -n __fish_use_subcommand -a trace -d 'Follow one sequence step by step'
complete -c stpn -n __fish_use_subcommand -a play -d 'Show the agent of a run at work'
complete -c stpn -n __fish_use_subcommand -a export -d 'Write the network of a run as a C file'
complete -c stpn -n __fish_use_subcommand -a help -d 'Explain the commands'

complete -c stpn -n '__fish_seen_subcommand_from train' -F
complete -c stpn -n '__fish_seen_subcommand_from train' -l set -x -d 'Change one value: KEY=VALUE'
complete -c stpn -n '__fish_seen_subcommand_from train' -l seed -x -d 'Take this seed'
complete -c stpn -n '__fish_seen_subcommand_from train' -l seeds -x -d 'Train once with each seed: 0-4 or 0,2,5'
complete -c stpn -n '__fish_seen_subcommand_from train' -l out -x -a '(__fish_complete_directories)' -d "The run's folder"
complete -c stpn -n '__fish_seen_subcommand_from train' -l resume -d 'Go on from the last checkpoint'
complete -c stpn -n '__fish_seen_subcommand_from train' -l any-kernel -d 'Resume although another kernel wrote the checkpoint'
complete -c stpn -n '__fish_seen_subcommand_from train' -l quiet -d 'Print no progress and no result'
complete -c stpn -n '__fish_seen_subcommand_from train' -l profile -d 'Print at the end where the time went'

complete -c stpn -n '__fish_seen_subcommand_from eval inspect' -l energy-table -r -F -d 'Picojoules of an operation'
complete -c stpn -n '__fish_seen_subcommand_from eval compare inspect trace play export' -a '(__fish_complete_directories)'
complete -c stpn -n '__fish_seen_subcommand_from eval inspect trace play export' -l best -d 'Take the parameters of the best evaluation'
complete -c stpn -n '__fish_seen_subcommand_from eval' -l examples -x -d 'Number of sequences to show'
complete -c stpn -n '__fish_seen_subcommand_from eval' -l greedy -d 'Take the most probable actions'
complete -c stpn -n '__fish_seen_subcommand_from eval' -l iterations -x -d 'Episodes of every copy'
complete -c stpn -n '__fish_seen_subcommand_from eval' -l policy -x -a 'random oracle' -d 'Take a policy in place of the network'

complete -c stpn -n '__fish_seen_subcommand_from compare' -l csv -d 'Print comma-separated values'
complete -c stpn -n '__fish_seen_subcommand_from compare' -l markdown -d 'Print Markdown'

complete -c stpn -n '__fish_seen_subcommand_from reproduce' -a 'retrieval familiarity maze'
complete -c stpn -n '__fish_seen_subcommand_from reproduce' -l seeds -x -d 'Seeds of every experiment: 0-4 or 0,2,5'
complete -c stpn -n '__fish_seen_subcommand_from reproduce' -l epochs -x -d 'Epochs of every run'
complete -c stpn -n '__fish_seen_subcommand_from reproduce' -l iterations -x -d 'Iterations of every run'
complete -c stpn -n '__fish_seen_subcommand_from reproduce' -l steps -x -d 'Agent steps of every run'
complete -c stpn -n '__fish_seen_subcommand_from reproduce' -l set -x -d 'Change one value of every experiment: KEY=VALUE'
complete -c stpn -n '__fish_seen_subcommand_from reproduce' -l out -x -a '(__fish_complete_directories)' -d 'Folder of the runs and the tables'
complete -c stpn -n '__fish_seen_subcommand_from reproduce' -l jobs -x -d 'Runs at a time'
complete -c stpn -n '__fish_seen_subcommand_from reproduce' -l experiments -x -a '(__fish_complete_directories)' -d 'Folder that holds NAME'
complete -c stpn -n '__fish_seen_subcommand_from reproduce' -l figures -d 'Draw figures'
complete -c stpn -n '__fish_seen_subcommand_from reproduce' -l any-kernel -d 'Resume although another kernel wrote a checkpoint'
complete -c stpn -n '__fish_seen_subcommand_from reproduce' -l quiet -d 'Print no progress and no table'

complete -c stpn -n '__fish_seen_subcommand_from sweep' -F
complete -c stpn -n '__fish_seen_subcommand_from sweep' -l set -x -d 'Change one value of every run: KEY=VALUE'
complete -c stpn -n '__fish_seen_subcommand_from sweep' -l out -x -a '(__fish_complete_directories)' -d 'Folder of the runs and the tables'
complete -c stpn -n '__fish_seen_subcommand_from sweep' -l jobs -x -d 'Runs at a time'
complete -c stpn -n '__fish_seen_subcommand_from sweep' -l array -x -d 'Make every N-th run: I/N'
complete -c stpn -n '__fish_seen_subcommand_from sweep' -l list -d 'Print the settings and train none'
complete -c stpn -n '__fish_seen_subcommand_from sweep' -l figures -d 'Draw figures'
complete -c stpn -n '__fish_seen_subcommand_from sweep' -l any-kernel -d 'Resume although another kernel wrote a checkpoint'
complete -c stpn -n '__fish_seen_subcommand_from sweep' -l quiet -d 'Print no progress and no table'

complete -c stpn -n '__fish_seen_subcommand_from verify' -F
complete -c stpn -n '__fish_seen_subcommand_from verify' -l kernel -x -a 'portable avx2 avx512 neon' -d 'Take this kernel'

complete -c stpn -n '__fish_seen_subcommand_from bench' -l size -x -a 'retrieval maze maze-post pong' -d 'What is measured; or B,T,I,H'
complete -c stpn -n '__fish_seen_subcommand_from bench' -l tokens -d 'One-hot inputs at that size'
complete -c stpn -n '__fish_seen_subcommand_from bench' -l unit -x -a '(stpn info 2>/dev/null | string match -rg "^unit *([^:]*):")' -d 'The unit'
complete -c stpn -n '__fish_seen_subcommand_from bench' -l all-kernels -d 'Measure every kernel that this processor runs'

complete -c stpn -n '__fish_seen_subcommand_from train eval reproduce sweep bench' -l threads -x -d 'Number of threads'
complete -c stpn -n '__fish_seen_subcommand_from eval compare verify bench info inspect trace export' -l json -d 'Print one JSON document'

complete -c stpn -n '__fish_seen_subcommand_from trace' -l sequence -x -d 'Take this sequence, a character per symbol'
complete -c stpn -n '__fish_seen_subcommand_from trace' -l index -x -d 'Take this sequence of the test set'
complete -c stpn -n '__fish_seen_subcommand_from trace' -l steps -x -d 'Take its first steps alone'
complete -c stpn -n '__fish_seen_subcommand_from trace' -l out -r -F -d 'The file of the numbers'

complete -c stpn -n '__fish_seen_subcommand_from play' -l seed -x -d 'Another episode'
complete -c stpn -n '__fish_seen_subcommand_from play' -l steps -x -d 'End after so many steps'
complete -c stpn -n '__fish_seen_subcommand_from play' -l fps -x -d 'Steps shown in a second'
complete -c stpn -n '__fish_seen_subcommand_from play' -l greedy -d 'Take the most probable actions'
complete -c stpn -n '__fish_seen_subcommand_from play' -l gif -r -F -d 'Write an animation'
complete -c stpn -n '__fish_seen_subcommand_from play' -l video -r -F -d 'Write a film'
complete -c stpn -n '__fish_seen_subcommand_from play' -l quiet -d 'Print the result alone'

complete -c stpn -n '__fish_seen_subcommand_from export' -l name -x -d 'Name of the files and of what they declare'
complete -c stpn -n '__fish_seen_subcommand_from export' -l out -x -a '(__fish_complete_directories)' -d 'Folder of the two files'

complete -c stpn -n '__fish_seen_subcommand_from help' -a 'train eval compare reproduce sweep verify bench info inspect trace play export keys'
