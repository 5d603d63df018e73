# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rc_global_optspecs
    string join \n output= project= h/help V/version
end

function __fish_rc_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rc_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rc_using_subcommand
    set -l cmd (__fish_rc_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rc -n "__fish_rc_needs_command" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_needs_command" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_needs_command" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_needs_command" -f -a "init" -d 'Make a new service that runs from the first minute'
complete -c rc -n "__fish_rc_needs_command" -f -a "up" -d 'Start the platform of this project'
complete -c rc -n "__fish_rc_needs_command" -f -a "status" -d 'Show what runs in this project: each service, its state, process, memory and address'
complete -c rc -n "__fish_rc_needs_command" -f -a "logs" -d 'Show what the services printed'
complete -c rc -n "__fish_rc_needs_command" -f -a "trace" -d 'Draw one trace as a tree, or list the recent ones'
complete -c rc -n "__fish_rc_needs_command" -f -a "down" -d 'Stop the platform of this project and wait until everything has ended'
complete -c rc -n "__fish_rc_needs_command" -f -a "ingest" -d 'Put documents into the platform, so that `rc search` finds them'
complete -c rc -n "__fish_rc_needs_command" -f -a "search" -d 'Find documents, the best ones first'
complete -c rc -n "__fish_rc_needs_command" -f -a "docs" -d 'Look at single documents'
complete -c rc -n "__fish_rc_needs_command" -f -a "tenant" -d 'Tenants and their API keys'
complete -c rc -n "__fish_rc_needs_command" -f -a "ramp" -d 'How much of a service goes to another version, changed while it runs'
complete -c rc -n "__fish_rc_needs_command" -f -a "audit" -d 'The audit log: who did what, to what, why and when'
complete -c rc -n "__fish_rc_needs_command" -f -a "events" -d 'Events: move them, watch them, check them, and decide about those that cannot be applied'
complete -c rc -n "__fish_rc_needs_command" -f -a "db" -d 'The services\' stores: what their statements cost, and which indexes are missing or unused'
complete -c rc -n "__fish_rc_needs_command" -f -a "gateway" -d 'Run a gateway on its own, check and compare what it is told, and explain what it does'
complete -c rc -n "__fish_rc_needs_command" -f -a "judge" -d 'The judge of releases: judge a recorded rollout again, and measure the judge itself'
complete -c rc -n "__fish_rc_needs_command" -f -a "catalog" -d 'Look at the files that describe what runs, and for whom'
complete -c rc -n "__fish_rc_needs_command" -f -a "schema" -d 'Print the JSON Schema of a file, for editors and other tools'
complete -c rc -n "__fish_rc_needs_command" -f -a "migrate" -d 'Bring the store\'s schema to what this binary needs'
complete -c rc -n "__fish_rc_needs_command" -f -a "doctor" -d 'Check this machine and this project, and say what to do about what is wrong'
complete -c rc -n "__fish_rc_needs_command" -f -a "explain" -d 'Explain an error code: what happened, why, and what to do'
complete -c rc -n "__fish_rc_needs_command" -f -a "completions" -d 'Print the completion script of a shell'
complete -c rc -n "__fish_rc_needs_command" -f -a "serve" -d 'Run one of the platform\'s own services in the foreground'
complete -c rc -n "__fish_rc_needs_command" -f -a "__guard" -d 'Run a command so that nothing it starts outlives it or the supervisor'
complete -c rc -n "__fish_rc_needs_command" -f -a "__gen" -d 'Write generated documents into a folder'
complete -c rc -n "__fish_rc_using_subcommand init" -s t -l template -d 'What it is written in [default: rust]' -r -f -a "rust\t'Rust with axum'
node\t'Node.js 18 or later, without packages'
python\t'Python 3.11 or later, without packages'"
complete -c rc -n "__fish_rc_using_subcommand init" -l owner -d 'The team that answers for it [default: platform]' -r
complete -c rc -n "__fish_rc_using_subcommand init" -l tier -d 'How important it is [default: silver]' -r -f -a "gold\t''
silver\t''
bronze\t''"
complete -c rc -n "__fish_rc_using_subcommand init" -l oncall -d 'Where to call the team [default: #oncall-TEAM]' -r
complete -c rc -n "__fish_rc_using_subcommand init" -l dir -d 'The folder to make [default: the service\'s name, here]' -r -F
complete -c rc -n "__fish_rc_using_subcommand init" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand init" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand init" -l dry-run -d 'Say what would be written, and write nothing'
complete -c rc -n "__fish_rc_using_subcommand init" -s y -l yes -d 'Ask nothing: what is not given has its default'
complete -c rc -n "__fish_rc_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand init" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand up" -l wait -d 'With `--detach`: how long to wait until everything is ready; then everything is stopped again' -r
complete -c rc -n "__fish_rc_using_subcommand up" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand up" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand up" -s d -l detach -d 'Run in the background; return when everything is ready, or say why it is not'
complete -c rc -n "__fish_rc_using_subcommand up" -l detached-child -d 'This is the background process'
complete -c rc -n "__fish_rc_using_subcommand up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand up" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand status" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand status" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand status" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand logs" -s n -l lines -d 'How many of the last lines' -r
complete -c rc -n "__fish_rc_using_subcommand logs" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand logs" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand logs" -s f -l follow -d 'Go on with what is printed from now on, until Ctrl-C'
complete -c rc -n "__fish_rc_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand logs" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand trace" -s n -l limit -d 'How many recent traces are listed, the newest last' -r
complete -c rc -n "__fish_rc_using_subcommand trace" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand trace" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand trace" -l errors -d 'Of the recent traces, only those in which something failed'
complete -c rc -n "__fish_rc_using_subcommand trace" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand trace" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand down" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand down" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand down" -l now -d 'Do not let services finish their work'
complete -c rc -n "__fish_rc_using_subcommand down" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand down" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand ingest" -l attr -d 'Give every document this attribute; repeatable' -r
complete -c rc -n "__fish_rc_using_subcommand ingest" -l concurrency -d 'Batches under way at once; the actual number follows what the platform takes' -r
complete -c rc -n "__fish_rc_using_subcommand ingest" -l tenant -d 'Act as this tenant of the platform that runs in this project; without it and without a key, as the first demo tenant' -r
complete -c rc -n "__fish_rc_using_subcommand ingest" -l key -d 'Act as the owner of this API key; `--key-file` and `RC_API_KEY` do not show in the list of processes' -r
complete -c rc -n "__fish_rc_using_subcommand ingest" -l key-file -d 'Act as the owner of the API key in this file' -r -F
complete -c rc -n "__fish_rc_using_subcommand ingest" -l url -d 'Where the platform listens, such as `https://api.example.com`; `RC_URL` says it too' -r
complete -c rc -n "__fish_rc_using_subcommand ingest" -l cacert -d 'Believe only the certificate authorities in this PEM file' -r -F
complete -c rc -n "__fish_rc_using_subcommand ingest" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand ingest" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand ingest" -l wait -d 'End when all documents can be found, not only stored'
complete -c rc -n "__fish_rc_using_subcommand ingest" -l fresh -d 'Start over, even when an earlier run of this command was interrupted'
complete -c rc -n "__fish_rc_using_subcommand ingest" -l follow -d 'Read symbolic links below folders, too'
complete -c rc -n "__fish_rc_using_subcommand ingest" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand ingest" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand search" -l limit -d 'Results on one page' -r
complete -c rc -n "__fish_rc_using_subcommand search" -l filter -d 'Only documents with this attribute; repeatable, all must hold' -r
complete -c rc -n "__fish_rc_using_subcommand search" -l since -d 'Only documents from this moment on, such as `2026-11-21T10:00:00Z`' -r
complete -c rc -n "__fish_rc_using_subcommand search" -l until -d 'Only documents before this moment' -r
complete -c rc -n "__fish_rc_using_subcommand search" -l cursor -d 'Start where an earlier page ended' -r
complete -c rc -n "__fish_rc_using_subcommand search" -l tenant -d 'Act as this tenant of the platform that runs in this project; without it and without a key, as the first demo tenant' -r
complete -c rc -n "__fish_rc_using_subcommand search" -l key -d 'Act as the owner of this API key; `--key-file` and `RC_API_KEY` do not show in the list of processes' -r
complete -c rc -n "__fish_rc_using_subcommand search" -l key-file -d 'Act as the owner of the API key in this file' -r -F
complete -c rc -n "__fish_rc_using_subcommand search" -l url -d 'Where the platform listens, such as `https://api.example.com`; `RC_URL` says it too' -r
complete -c rc -n "__fish_rc_using_subcommand search" -l cacert -d 'Believe only the certificate authorities in this PEM file' -r -F
complete -c rc -n "__fish_rc_using_subcommand search" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand search" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand search" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand search" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand docs; and not __fish_seen_subcommand_from get" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand docs; and not __fish_seen_subcommand_from get" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand docs; and not __fish_seen_subcommand_from get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand docs; and not __fish_seen_subcommand_from get" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand docs; and not __fish_seen_subcommand_from get" -f -a "get" -d 'Print one document'
complete -c rc -n "__fish_rc_using_subcommand docs; and __fish_seen_subcommand_from get" -l tenant -d 'Act as this tenant of the platform that runs in this project; without it and without a key, as the first demo tenant' -r
complete -c rc -n "__fish_rc_using_subcommand docs; and __fish_seen_subcommand_from get" -l key -d 'Act as the owner of this API key; `--key-file` and `RC_API_KEY` do not show in the list of processes' -r
complete -c rc -n "__fish_rc_using_subcommand docs; and __fish_seen_subcommand_from get" -l key-file -d 'Act as the owner of the API key in this file' -r -F
complete -c rc -n "__fish_rc_using_subcommand docs; and __fish_seen_subcommand_from get" -l url -d 'Where the platform listens, such as `https://api.example.com`; `RC_URL` says it too' -r
complete -c rc -n "__fish_rc_using_subcommand docs; and __fish_seen_subcommand_from get" -l cacert -d 'Believe only the certificate authorities in this PEM file' -r -F
complete -c rc -n "__fish_rc_using_subcommand docs; and __fish_seen_subcommand_from get" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand docs; and __fish_seen_subcommand_from get" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand docs; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand docs; and __fish_seen_subcommand_from get" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand tenant; and not __fish_seen_subcommand_from list key usage" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand tenant; and not __fish_seen_subcommand_from list key usage" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand tenant; and not __fish_seen_subcommand_from list key usage" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand tenant; and not __fish_seen_subcommand_from list key usage" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand tenant; and not __fish_seen_subcommand_from list key usage" -f -a "list" -d 'List the tenants of this project with their tiers and limits'
complete -c rc -n "__fish_rc_using_subcommand tenant; and not __fish_seen_subcommand_from list key usage" -f -a "key" -d 'API keys of tenants'
complete -c rc -n "__fish_rc_using_subcommand tenant; and not __fish_seen_subcommand_from list key usage" -f -a "usage" -d 'Show how much a tenant stores, and how much it may'
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from list" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from list" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from key" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from key" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from key" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from key" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from key" -f -a "create" -d 'Make a key for a tenant'
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from key" -f -a "list" -d 'List keys: their ids, never the keys'
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from key" -f -a "revoke" -d 'Make a key stop working, at once and for good'
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from usage" -l reason -d 'Why, for the audit log' -r
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from usage" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from usage" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from usage" -l recount -d 'Count all documents, and repair the ledger'
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from usage" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand tenant; and __fish_seen_subcommand_from usage" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand ramp; and not __fish_seen_subcommand_from set show undo" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand ramp; and not __fish_seen_subcommand_from set show undo" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand ramp; and not __fish_seen_subcommand_from set show undo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand ramp; and not __fish_seen_subcommand_from set show undo" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand ramp; and not __fish_seen_subcommand_from set show undo" -f -a "set" -d 'Send this part of a service\'s requests to the new version'
complete -c rc -n "__fish_rc_using_subcommand ramp; and not __fish_seen_subcommand_from set show undo" -f -a "show" -d 'Show the parts, who owns them, and what they were'
complete -c rc -n "__fish_rc_using_subcommand ramp; and not __fish_seen_subcommand_from set show undo" -f -a "undo" -d 'Go back to the part before the latest change'
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from set" -l percent -d 'The part, from 0 to 100' -r
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from set" -l reason -d 'Why, for the audit log' -r
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from set" -l generation -d 'Only if this is still its generation, as `rc ramp show` says it; of two at once one is refused' -r
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from set" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from set" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from set" -l override -d 'Also when a rollout that runs by itself owns it; from then on it does not move it'
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from set" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from show" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from show" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from undo" -l reason -d 'Why, for the audit log' -r
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from undo" -l generation -d 'Only if this is still its generation, as `rc ramp show` says it; of two at once one is refused' -r
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from undo" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from undo" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from undo" -l override -d 'Also when a rollout that runs by itself owns it; from then on it does not move it'
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from undo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand ramp; and __fish_seen_subcommand_from undo" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand audit; and not __fish_seen_subcommand_from log verify" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand audit; and not __fish_seen_subcommand_from log verify" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand audit; and not __fish_seen_subcommand_from log verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand audit; and not __fish_seen_subcommand_from log verify" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand audit; and not __fish_seen_subcommand_from log verify" -f -a "log" -d 'Show who did what, to what, why and when'
complete -c rc -n "__fish_rc_using_subcommand audit; and not __fish_seen_subcommand_from log verify" -f -a "verify" -d 'Check that nobody changed the audit log'
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from log" -l tenant -d 'Only what concerns this tenant' -r
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from log" -l action -d 'Only this action, such as `key.create`, or all of a kind, such as `key`' -r
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from log" -l actor -d 'Only what this one did: `os-user:1000`, `rc-up`' -r
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from log" -l since -d 'Only from then on: a time such as `2026-11-21T10:00:00Z`, or a span back from now such as `2h`' -r
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from log" -s n -l limit -d 'How many of the last entries' -r
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from log" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from log" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from log" -s f -l follow -d 'Go on with what is added from now on, until Ctrl-C'
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from log" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from log" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from verify" -l key -d 'A public key that must have signed, instead of the key on this disk; `@FILE` reads keys from a file, one a line. Can be given more than once' -r
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from verify" -l checkpoint -d 'A checkpoint of this log that was kept elsewhere: the log must contain it. Can be given more than once' -r -F
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from verify" -l save -d 'When the log is whole, write its checkpoint to this file, and the public keys to FILE.keys. Files that are there from an earlier time are checked first, as if given by `--checkpoint` and `--key`' -r -F
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from verify" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from verify" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand audit; and __fish_seen_subcommand_from verify" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -f -a "status" -d 'Show where events are: what waits in outboxes, how far readers are, and what was set aside'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -f -a "dlq" -d 'Dead letters: events that were set aside because they cannot be applied or published'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -f -a "replay" -d 'Give a consumer events of the past once more, and nobody else'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -f -a "rebuild" -d 'Build a read model anew from history, beside the one that serves, and let it take over'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -f -a "verify" -d 'Check that a bus has every event of an outbox once, in order and unchanged, and nothing else'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -f -a "relay" -d 'Move events from a service\'s outbox to a bus, until SIGTERM or Ctrl-C'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -f -a "capture" -d 'Publish every insert, update and delete of PostgreSQL tables to a bus, until SIGTERM or Ctrl-C'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -f -a "install" -d 'Make an outbox in a PostgreSQL database: its tables, and the functions that append an event'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -f -a "rebase" -d 'Let an outbox go on after its PostgreSQL cluster was restored from a copy'
complete -c rc -n "__fish_rc_using_subcommand events; and not __fish_seen_subcommand_from status dlq replay rebuild verify relay capture install rebase schema" -f -a "schema" -d 'Schemas of events: which there are, and whether a change of them breaks readers'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from status" -l from -d 'The outbox: `postgres://user@host:port/database` or `sqlite:PATH`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from status" -l to -d 'The bus: `nats://host:port`, `postgres://…` or `sqlite:PATH`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from status" -l origin -d 'The name under which the bus keeps the outbox\'s place' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from status" -l schema -d 'The schema of the outbox on PostgreSQL' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from status" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from status" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -l from -d 'The outbox: `postgres://user@host:port/database`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -l to -d 'The bus: `nats://host:port`, `postgres://…` or `sqlite:PATH`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -l origin -d 'The name under which the bus keeps the outbox\'s place' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -l schema -d 'The schema of the outbox, or of the relay\'s own tables' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -f -a "list" -d 'List dead letters, oldest first'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -f -a "show" -d 'Show one letter: the event, what was wrong with it, and what was tried'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -f -a "edit" -d 'Change what will be applied when the letter is replayed. The event as it came stays'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -f -a "replay" -d 'Try letters again, the letters of a key in their order'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from dlq" -f -a "drop" -d 'Give letters up: their numbers pass without an effect, and what waits behind them goes on'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l consumer -d 'Whose events' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l since -d 'That happened then or later: a time such as `2026-11-21T10:00:00Z`, or a span back from now such as `2h`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l until -d 'That happened before' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l tenant -d 'Of this tenant' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l topic -d 'Of this topic' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l key -d 'Of this key, such as a document\'s id' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l type -d 'Of this type, such as `doc.put.v1`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l rate -d 'Events a second at most' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l plan -d 'The plan that `--dry-run` showed' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l reason -d 'Why, for the audit log' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l cancel -d 'End this replay where it is' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l all -d 'Everything that the bus still has'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l dry-run -d 'Only say how many events that would be'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -l list -d 'Show the newest replays'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from replay" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebuild" -l reason -d 'Why, for the audit log' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebuild" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebuild" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebuild" -l status -d 'Only show how far it is, or how the last one ended'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebuild" -l abort -d 'End it and remove what it has built'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebuild" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebuild" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from verify" -l from -d 'The outbox: `postgres://user@host:port/database` or `sqlite:PATH`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from verify" -l to -d 'The bus: `nats://host:port`, `postgres://…` or `sqlite:PATH`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from verify" -l origin -d 'The name under which the bus keeps the outbox\'s place' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from verify" -l schema -d 'The schema of the outbox on PostgreSQL' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from verify" -l reason -d 'Why, for the audit log' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from verify" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from verify" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from verify" -l repair -d 'Publish again what is missing'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from verify" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l from -d 'The outbox: `postgres://user@host:port/database` or `sqlite:PATH`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l to -d 'The bus: `nats://host:port`, `postgres://…` or `sqlite:PATH`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l origin -d 'The name under which the bus keeps this outbox\'s place; one outbox, one name, for ever' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l source -d 'How PostgreSQL is read: `poll` asks for what was committed, `slot` streams from a replication slot, `table` reads an outbox table of the common shape (`id`, `aggregate`, `aggregate_id`, `kind`, `payload`, `created_at`, `dequeued_at`) and marks what it has moved. Between `poll` and `slot` one may change at will' -r -f -a "poll\t''
slot\t''
table\t''"
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l table -d 'The table of `--source table`, as `table` or `schema.table`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l tenant -d 'Whose the rows of `--source table` are' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l tenant-column -d 'The column of `--source table` that says whose a row is, instead of one tenant for all' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l schema -d 'The schema of the outbox on PostgreSQL; with `--source table`, of the relay\'s own tables' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l outbox-keep -d 'How long rows stay in the outbox after they were relayed' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l bus-keep -d 'How long events stay on the bus. All that publish to one bus must say the same: each of them cleans it' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l bus-bytes -d 'How many bytes of events stay on the bus at most' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l schemas -d 'Hold events against the schemas in this folder: one that breaks its own is set aside, with its key. Types without a schema pass' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l metrics -d 'Serve `/health`, `/ready` and `/metrics` here' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -l every-type -d 'Set events aside whose type has no schema, too'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from relay" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l from -d 'The database: `postgres://user@host:port/database`; RC_EVENTS_FROM says it too' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l to -d 'The bus: `nats://host:port`, `postgres://…` or `sqlite:PATH`; RC_EVENTS_TO says it too' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l table -d 'A table, as `table` or `schema.table`. Can be given more than once' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l name -d 'The capture\'s name: its place on the bus, and part of its slot\'s. Another name is another capture' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l tenant -d 'Whose the rows are' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l tenant-column -d 'The column that says whose a row is; without a tenant\'s name in it, the row is `--tenant`\'s' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l bus-keep -d 'How long events stay on the bus. All that publish to one bus must say the same: each of them cleans it' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l bus-bytes -d 'How many bytes of events stay on the bus at most' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l schemas -d 'Hold events against the schemas in this folder: one that breaks its own is set aside, with its key. Types without a schema pass' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l metrics -d 'Serve `/health`, `/ready` and `/metrics` here' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l no-snapshot -d 'Leave out the rows that are there at the start'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l replica-identity-full -d 'Set `REPLICA IDENTITY FULL` on the tables: events then have the whole row before a change, and large values that it did not touch. Updates and deletes write more to the server\'s log'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l resnapshot -d 'When changes were lost with their slot, publish all rows anew instead of stopping'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -l every-type -d 'Set events aside whose type has no schema, too'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from capture" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from install" -l to -d 'The database: `postgres://user@host:port/database`; the user owns what is made' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from install" -l schema -d 'The schema of the outbox' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from install" -l writer -d 'Let this role append and nothing else: the service\'s own' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from install" -l relay -d 'Let this role relay and nothing else: the one in the URLs of `rc events relay`' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from install" -l reader -d 'Let this role read the bus and say how far it is, and nothing else' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from install" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from install" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from install" -l bus -d 'Make the tables of a bus in this database instead, for `rc events relay --to postgres://…`'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from install" -l print -d 'Print the SQL and do nothing'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from install" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebase" -l from -d 'The outbox: `postgres://user@host:port/database`; RC_EVENTS_FROM says it too' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebase" -l to -d 'The bus: `nats://host:port`, `postgres://…` or `sqlite:PATH`; RC_EVENTS_TO says it too' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebase" -l origin -d 'The name under which the bus keeps the outbox\'s place' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebase" -l schema -d 'The schema of the outbox' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebase" -l tenant -d 'Whose event carries the new place; it has no effect' -r
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebase" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebase" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebase" -l accept-loss -d 'Go on although the bus has later events than the outbox'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebase" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from rebase" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from schema" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from schema" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from schema" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from schema" -f -a "check" -d 'Check the project\'s schemas, and whether readers of them can read all events there are'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from schema" -f -a "list" -d 'List the schemas that hold here'
complete -c rc -n "__fish_rc_using_subcommand events; and __fish_seen_subcommand_from schema" -f -a "show" -d 'Print one schema'
complete -c rc -n "__fish_rc_using_subcommand db; and not __fish_seen_subcommand_from profile advise" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand db; and not __fish_seen_subcommand_from profile advise" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand db; and not __fish_seen_subcommand_from profile advise" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand db; and not __fish_seen_subcommand_from profile advise" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand db; and not __fish_seen_subcommand_from profile advise" -f -a "profile" -d 'Show what statements cost since the services started: the most expensive first'
complete -c rc -n "__fish_rc_using_subcommand db; and not __fish_seen_subcommand_from profile advise" -f -a "advise" -d 'Say which indexes are missing and which are unused, from what the stores counted'
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from profile" -s n -l top -d 'How many statements are shown' -r
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from profile" -l by -d 'What comes first' -r -f -a "total\t'The time of all runs together'
p95\t'The time that 95 of 100 runs did not exceed'
calls\t'How often it ran'"
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from profile" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from profile" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from profile" -l plans -d 'Show the plan of each: how the database runs it, whatever its parameters are'
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from profile" -l markdown -d 'Print it as a page of Markdown'
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from profile" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from profile" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from advise" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from advise" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from advise" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand db; and __fish_seen_subcommand_from advise" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand gateway; and not __fish_seen_subcommand_from run check diff explain key" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand gateway; and not __fish_seen_subcommand_from run check diff explain key" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand gateway; and not __fish_seen_subcommand_from run check diff explain key" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand gateway; and not __fish_seen_subcommand_from run check diff explain key" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand gateway; and not __fish_seen_subcommand_from run check diff explain key" -f -a "run" -d 'Run a gateway in front of any HTTP service'
complete -c rc -n "__fish_rc_using_subcommand gateway; and not __fish_seen_subcommand_from run check diff explain key" -f -a "check" -d 'Check what a gateway is told, without running it'
complete -c rc -n "__fish_rc_using_subcommand gateway; and not __fish_seen_subcommand_from run check diff explain key" -f -a "diff" -d 'Compare what a gateway is told: limits for each tenant, routes, services, settings'
complete -c rc -n "__fish_rc_using_subcommand gateway; and not __fish_seen_subcommand_from run check diff explain key" -f -a "explain" -d 'Explain what happens to a request: every limit that applies, in the order in which they are looked at'
complete -c rc -n "__fish_rc_using_subcommand gateway; and not __fish_seen_subcommand_from run check diff explain key" -f -a "key" -d 'Make an API key for a tenant of a gateway on its own'
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from run" -l config -d 'Its configuration' -r -F
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from run" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from run" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from run" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from check" -l config -d 'The `gateway.yaml` of a gateway on its own; without it, the files of the project' -r -F
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from check" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from check" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from diff" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from diff" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from diff" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from explain" -l config -d 'The `gateway.yaml` of a gateway on its own; without it, the files of the project' -r -F
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from explain" -l tenant -d 'Whose request; without it, nobody\'s in particular' -r
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from explain" -l path -d 'Its path, such as `/docs/7`' -r
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from explain" -l method -d 'Its method' -r
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from explain" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from explain" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from explain" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from key" -l add -d 'Append its line to this file, which is made when it is not there' -r -F
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from key" -l label -d 'What it is for, so that people know which one to revoke' -r
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from key" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from key" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from key" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand gateway; and __fish_seen_subcommand_from key" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand judge; and not __fish_seen_subcommand_from replay bench" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand judge; and not __fish_seen_subcommand_from replay bench" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand judge; and not __fish_seen_subcommand_from replay bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand judge; and not __fish_seen_subcommand_from replay bench" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand judge; and not __fish_seen_subcommand_from replay bench" -f -a "replay" -d 'Judge a recorded rollout again, second by second'
complete -c rc -n "__fish_rc_using_subcommand judge; and not __fish_seen_subcommand_from replay bench" -f -a "bench" -d 'Simulate rollouts, and say how often the judge is wrong and how soon it is right'
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from replay" -l with -d 'Judge with these rules instead of the record\'s' -r -F
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from replay" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from replay" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from replay" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from bench" -l runs -d 'Rollouts of each kind' -r
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from bench" -l seed -r
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from bench" -l only -d 'Only those whose name has this text' -r
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from bench" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from bench" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand judge; and __fish_seen_subcommand_from bench" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand catalog; and not __fish_seen_subcommand_from check" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand catalog; and not __fish_seen_subcommand_from check" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand catalog; and not __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand catalog; and not __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand catalog; and not __fish_seen_subcommand_from check" -f -a "check" -d 'Check royalcrown.yaml, service-catalog.yaml and tenants.yaml'
complete -c rc -n "__fish_rc_using_subcommand catalog; and __fish_seen_subcommand_from check" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand catalog; and __fish_seen_subcommand_from check" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand catalog; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand catalog; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand schema" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand schema" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand schema" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand migrate" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand migrate" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand migrate" -l check -d 'Change nothing; exit 1 when something is missing'
complete -c rc -n "__fish_rc_using_subcommand migrate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand migrate" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand doctor" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand doctor" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand explain" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand explain" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand explain" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand completions" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand completions" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand completions" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand serve" -l listen -d 'The gateway\'s public address, instead of the one in `royalcrown.yaml`' -r
complete -c rc -n "__fish_rc_using_subcommand serve" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand serve" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand serve" -l supervised -d 'End when stdin is closed: the supervisor holds the other end'
complete -c rc -n "__fish_rc_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand serve" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand __guard" -l drain-ms -d 'How long everything gets to end after SIGTERM' -r
complete -c rc -n "__fish_rc_using_subcommand __guard" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand __guard" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand __guard" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand __guard" -s V -l version -d 'Print version'
complete -c rc -n "__fish_rc_using_subcommand __gen" -l out -d 'The folder' -r -F
complete -c rc -n "__fish_rc_using_subcommand __gen" -l output -d 'How results are printed' -r -f -a "text\t'For people'
json\t'For programs: stable, documented shapes'"
complete -c rc -n "__fish_rc_using_subcommand __gen" -l project -d 'The project\'s folder; without it, the nearest one upwards' -r -F
complete -c rc -n "__fish_rc_using_subcommand __gen" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rc -n "__fish_rc_using_subcommand __gen" -s V -l version -d 'Print version'
