package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/urfave/cli/v2"

	"loquetier/train"
)

// demoScreen shows the demo on a terminal: a column for each stream where
// there is room, otherwise one below the other.
type demoScreen struct {
	in            io.Reader // nil: no keyboard
	out           io.Writer
	names         []string
	texts         []string
	curve         train.Curve // of the last stream's adapter
	training      string      // how far that is
	width, height int
	summary       func() demoSummary
	status        string
	err           error
}

// minColumn is the least width of a column, in cells.
const minColumn = 20

func newDemoScreen(c *cli.Context, names []string) *demoScreen {
	m := &demoScreen{out: c.App.Writer, names: names, texts: make([]string, len(names)), width: 80, height: 24}
	if isTerminal(c.App.Reader) {
		m.in = c.App.Reader
	}
	return m
}

// Messages of the screen.
type (
	demoEnded struct{}
	demoTick  struct{}
)

func (m *demoScreen) run(ctx context.Context, updates <-chan demoUpdate, summary func() demoSummary) error {
	m.summary = summary
	program := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(m.in), tea.WithOutput(m.out), tea.WithoutSignalHandler())
	go func() {
		for u := range updates {
			program.Send(u)
		}
		program.Send(demoEnded{})
	}()
	if _, err := program.Run(); err != nil && !errors.Is(err, tea.ErrProgramKilled) {
		return fmt.Errorf("show the demo: %w", err)
	}
	return m.err
}

// Init starts the clock.
func (m *demoScreen) Init() tea.Cmd { return m.tick() }

func (m *demoScreen) tick() tea.Cmd {
	return tea.Tick(100*time.Millisecond, func(time.Time) tea.Msg { return demoTick{} })
}

// Update takes text, keys and the window's size.
func (m *demoScreen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case demoUpdate:
		m.texts[msg.stream] += msg.text
		if msg.train != nil {
			m.learn(*msg.train)
		}
		if err := demoError(msg); err != nil && m.err == nil {
			m.err = err
		}
	case demoEnded:
		m.status = m.summary().String()
		return m, tea.Quit
	case demoTick:
		m.status = m.summary().String()
		return m, m.tick()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		if key := msg.String(); key == "q" || key == "ctrl+c" {
			return m, tea.Quit
		}
	}
	return m, nil
}

// learn notes a step of the training.
func (m *demoScreen) learn(e train.Event) {
	switch e.Kind {
	case train.StepDone:
		m.curve.Loss = append(m.curve.Loss, train.Point{Step: e.Step, Loss: float64(e.Record.Loss)})
		m.training = fmt.Sprintf("in training: step %d of %d, loss %.2f", e.Step+1, e.Steps, float64(e.Record.Loss))
	case train.Ended:
		if e.Complete() {
			m.training = "trained in the same steps, and published"
		}
	}
}

// View draws the streams and what they have cost so far.
func (m *demoScreen) View() tea.View {
	title := lipgloss.NewStyle().Bold(true).Render(demoPrompt + " ...")
	status := lipgloss.NewStyle().Width(m.width).Faint(true).Render(m.status)
	room := m.height - lipgloss.Height(title) - lipgloss.Height(status) - 1
	return tea.NewView(lipgloss.JoinVertical(lipgloss.Left, title, m.streams(room), status) + "\n")
}

func (m *demoScreen) streams(room int) string {
	n := len(m.names)
	if m.width < n*minColumn {
		blocks := make([]string, n)
		for i := range blocks {
			blocks[i] = m.stream(i, m.width, room/n)
		}
		return lipgloss.JoinVertical(lipgloss.Left, blocks...)
	}
	columns := make([]string, n)
	for i := range columns {
		columns[i] = m.stream(i, m.width/n, room)
	}
	return lipgloss.JoinHorizontal(lipgloss.Top, columns...)
}

// curveHeight is the height of the loss curve, in lines.
const curveHeight = 8

// stream draws one stream's name and the end of its text; for the last one
// how its adapter's training goes.
func (m *demoScreen) stream(i, width, height int) string {
	name := lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Color(fmt.Sprint(i + 1))).Width(width).Render(m.names[i])
	above := []string{name}
	if i == len(m.names)-1 && m.training != "" {
		above = append(above, lipgloss.NewStyle().Faint(true).Width(width).PaddingRight(2).Render(m.training))
		if height > 2*curveHeight && len(m.curve.Loss) > 1 {
			above = append(above, strings.TrimRight(m.curve.Text(width-2, curveHeight), "\n"))
		}
	}
	room := max(1, height-lipgloss.Height(lipgloss.JoinVertical(lipgloss.Left, above...)))
	text := lipgloss.NewStyle().Width(width).PaddingRight(2).Render(m.texts[i])
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-room):]
	return lipgloss.JoinVertical(lipgloss.Left, append(above, lines...)...)
}
