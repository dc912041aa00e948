package daemon

import (
	"github.com/alecthomas/kong"
)

// help prints the help of a binary, or of one of its commands. The binary's own has the flags of
// the command that runs when none is named.
func help(options kong.HelpOptions, ctx *kong.Context) error {
	options.Compact, options.FlagsLast, options.NoAppDescFormat = true, true, true
	// That each flag can be set in the environment is said once.
	options.ValueFormatter = func(v *kong.Value) string { return v.Help }
	node := ctx.Model.Node
	if ctx.Selected() == nil && node.DefaultCmd != nil && !options.Summary {
		// Printing help ends the process, so nobody else sees the flags in this place.
		node.Flags = append(node.Flags, node.DefaultCmd.Flags...)
	}
	return kong.DefaultHelpPrinter(options, ctx)
}
