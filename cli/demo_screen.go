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
)

// demoScreen shows the demo on a terminal: a column for each stream where
// there is room, otherwise one below the other.
type demoScreen struct {
	in            io.Reader // nil: no keyboard
	out           io.Writer
	names         []string
	texts         []string
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

// stream draws one stream's name and the end of its text.
func (m *demoScreen) stream(i, width, height int) string {
	name := lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Color(fmt.Sprint(i + 1))).Width(width).Render(m.names[i])
	text := lipgloss.NewStyle().Width(width).PaddingRight(2).Render(m.texts[i])
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-max(1, height-1)):]
	return lipgloss.JoinVertical(lipgloss.Left, append([]string{name}, lines...)...)
}
