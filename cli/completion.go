package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// Scripts that ask the program itself what may come next.
const (
	bashCompletion = `# Completion of loquetier for bash: source <(loquetier completion bash)
_loquetier() {
    local current="${COMP_WORDS[COMP_CWORD]}" words=("${COMP_WORDS[@]:0:COMP_CWORD}")
    [[ $current == -* ]] && words+=("$current")
    COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$current"))
}
complete -o bashdefault -o default -F _loquetier loquetier
`
	zshCompletion = `#compdef loquetier
# Completion of loquetier for zsh: source <(loquetier completion zsh)
_loquetier() {
    local -a before choices
    before=("${(@)words[1,CURRENT-1]}")
    [[ $words[CURRENT] == -* ]] && before+=("$words[CURRENT]")
    choices=("${(@f)$("${before[@]}" --generate-bash-completion 2>/dev/null)}")
    if [[ -n $choices[1] ]]; then compadd -- "${choices[@]}"; else _files; fi
}
compdef _loquetier loquetier
`
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a completion script for a shell", ArgsUsage: "bash|zsh|fish",
		Description: "source <(loquetier completion bash)",
		Action:      completion,
	}
}

func completion(c *cli.Context) error {
	script := ""
	switch shell := c.Args().First(); shell {
	case "bash":
		script = bashCompletion
	case "zsh":
		script = zshCompletion
	case "fish":
		var err error
		if script, err = c.App.ToFishCompletion(); err != nil {
			return fmt.Errorf("make the script: %w", err)
		}
	default:
		return usagef("shell %q: known are bash, zsh, fish", shell)
	}
	_, err := fmt.Fprint(c.App.Writer, script)
	return err
}
