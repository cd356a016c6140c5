package text

import (
	"errors"
	"fmt"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	controlStructures "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// Limits on one rendering. A template comes with a model and means no harm,
// but a loop without end must not take the server with it.
const (
	maxSteps      = 1 << 20 // statements run and items looped over
	maxMacroDepth = 100
	maxRange      = 1 << 16
	maxOutput     = 64 << 20 // bytes
	maxRenderTime = 20 * time.Second
)

// stateKey is where a rendering's state is kept among its variables; no
// template can name it.
const stateKey = "\x00state"

// renderState is what one rendering has used up so far.
type renderState struct {
	steps    int
	macros   int
	deadline time.Time
	raised   *RaisedError
}

func stateOf(context *exec.Context) *renderState {
	if s, ok := context.Get(stateKey); ok {
		return s.(*renderState)
	}
	panic("BUG: a template is rendered without its state")
}

func (s *renderState) charge(steps int) error {
	s.steps += steps
	if s.steps > maxSteps {
		return fmt.Errorf("more than %d steps", maxSteps)
	}
	if time.Now().After(s.deadline) {
		return fmt.Errorf("longer than %v", maxRenderTime)
	}
	return nil
}

// templateStatements are the statements templates may use, those that read
// other files left out, each counted when it runs.
func templateStatements() *exec.ControlStructureSet {
	set := map[string]parser.ControlStructureParser{
		"for":        parseFor,
		"macro":      parseMacro,
		"generation": counted(parseGeneration),
	}
	for _, name := range []string{"if", "set", "raw", "with", "filter", "call", "break", "continue", "do"} {
		if inner, ok := builtins.ControlStructures.Get(name); ok {
			set[name] = counted(inner)
		}
	}
	return exec.NewControlStructureSet(set)
}

// statement counts itself, then does as the one it holds.
type statement struct {
	exec.ControlStructure
	after func(r *exec.Renderer) error // nil: nothing
}

func (s *statement) Execute(r *exec.Renderer, block *nodes.ControlStructureBlock) error {
	if err := stateOf(r.Environment.Context).charge(1); err != nil {
		return err
	}
	if err := s.ControlStructure.Execute(r, block); err != nil || s.after == nil {
		return err
	}
	return s.after(r)
}

func counted(inner parser.ControlStructureParser) parser.ControlStructureParser {
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		parsed, err := inner(p, args)
		if err != nil {
			return nil, err
		}
		runnable, ok := parsed.(exec.ControlStructure)
		if !ok {
			return nil, fmt.Errorf("%s cannot be run", parsed)
		}
		return &statement{ControlStructure: runnable}, nil
	}
}

// iterateFilter is applied to what a for statement loops over.
const iterateFilter = "\x00iterate"

// parseFor makes loops go over what Python would, in its order.
func parseFor(p, args *parser.Parser) (nodes.ControlStructure, error) {
	inner, ok := builtins.ControlStructures.Get("for")
	if !ok {
		panic("BUG: the template library has no for statement")
	}
	parsed, err := inner(p, args)
	if err != nil {
		return nil, err
	}
	loop, ok := parsed.(*controlStructures.ForControlStructure)
	if !ok {
		panic("BUG: the template library's for statement is of another type")
	}
	if loop.Recursive {
		return nil, errors.New("a recursive loop is not supported")
	}
	loop.ObjectEvaluator = &nodes.FilteredExpression{
		Expression: loop.ObjectEvaluator,
		Filters:    []*nodes.FilterCall{{Token: loop.ObjectEvaluator.Position(), Name: iterateFilter}},
	}
	return &statement{ControlStructure: loop}, nil
}

func filterIterate(e *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	items, err := elements(native(in))
	if err == nil {
		err = stateOf(e.Environment.Context).charge(len(items))
	}
	if err != nil {
		return exec.AsValue(err)
	}
	return exec.AsValue(items)
}

// parseMacro bounds how deep macros call each other.
func parseMacro(p, args *parser.Parser) (nodes.ControlStructure, error) {
	inner, ok := builtins.ControlStructures.Get("macro")
	if !ok {
		panic("BUG: the template library has no macro statement")
	}
	parsed, err := inner(p, args)
	if err != nil {
		return nil, err
	}
	macro, ok := parsed.(*controlStructures.MacroControlStructure)
	if !ok {
		panic("BUG: the template library's macro statement is of another type")
	}
	return &statement{macro, func(r *exec.Renderer) error { return boundMacro(r.Environment.Context, macro.Name) }}, nil
}

func boundMacro(context *exec.Context, name string) error {
	value, _ := context.Get(name)
	inner, ok := value.(exec.Macro)
	if !ok {
		return fmt.Errorf("macro %s is not defined", name)
	}
	state := stateOf(context)
	context.Set(name, exec.Macro(func(params *exec.VarArgs) *exec.Value {
		if state.macros >= maxMacroDepth {
			return exec.AsValue(fmt.Errorf("macro %s: calls nested more than %d deep", name, maxMacroDepth))
		}
		state.macros++
		defer func() { state.macros-- }()
		return inner(params)
	}))
	return nil
}

// generation is transformers' {% generation %}: it marks what the assistant
// says, and changes nothing.
type generation struct {
	location *tokens.Token
	body     *nodes.Wrapper
}

func (g *generation) Position() *tokens.Token { return g.location }

func (g *generation) String() string { return "generation" }

func (g *generation) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	return r.ExecuteIfWrapper(g.body)
}

func parseGeneration(p, args *parser.Parser) (nodes.ControlStructure, error) {
	location := p.Current()
	if !args.End() {
		return nil, args.Error("generation takes no arguments", args.Current())
	}
	body, end, err := p.WrapUntil("endgeneration")
	if err != nil {
		return nil, err
	}
	if !end.End() {
		return nil, end.Error("endgeneration takes no arguments", end.Current())
	}
	return &generation{location, body}, nil
}
