package archive

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"copialettere/policy"
)

// Provision says what is to become of many mailboxes. Either Lines or Domain chooses them, or both.
type Provision struct {
	// Lines are the mailboxes, with their settings or without:
	//
	//	mario@alpha.test                    one address a line
	//
	//	mailbox,quota,retention             or CSV (RFC 4180), whose first line names the settings
	//	mario@alpha.test,5GB,24             in this order; an empty field leaves a setting as it is
	//
	// Empty lines, and those that begin with #, are comments. In CSV, a semicolon may take the place of the comma. Nil for none.
	Lines io.Reader
	// Name names the lines in errors, as "boxes.csv".
	Name string
	// Domain is the domain in which all mailboxes of Lines must lie. Without Lines, it chooses all mailboxes of the domain that were ever set up;
	// to be enabled, only those whose archive was never on: an archive that somebody closed is not opened again by the way. Mailboxes that were
	// handed over are not among them.
	Domain string
	// Assignments are settings that all of the mailboxes get. None of them may be among those of the lines.
	Assignments []policy.Assignment
	// Enable turns the archives on, too.
	Enable bool
	// DryRun only says what would change.
	DryRun bool
}

// Provisioned is what became of one of many mailboxes, or would become of it. Others script against its names.
type Provisioned struct {
	Mailbox string          `json:"mailbox"`
	Archive string          `json:"archive"` // as in Mailbox
	Changed bool            `json:"changed"`
	Changes []policy.Change `json:"changes,omitempty"`
}

// MaxLines is how many bytes Provision.Lines may have.
const MaxLines = 16 << 20

// maxRefusals is how many errors of one Provision are told.
const maxRefusals = 1000

// Provision changes many mailboxes, and yields each. First it checks all of them: if one line is wrong, or one change would be refused, it yields
// one error that lists everything that is wrong, each with its line, and changes nothing. Then it makes the changes, some mailboxes at a time. If it
// breaks off, the mailboxes that it yielded are changed, and the same Provision goes on where it ended. It changes nothing of a mailbox that is
// as it is to be already. Each change needs the right that it needs for one mailbox.
//
// The errors wrap ErrRequest if the lines are malformed, and what policy.Set and policy.Enable return.
func (a *Archive) Provision(ctx context.Context, who policy.Actor, p Provision) iter.Seq2[Provisioned, error] {
	return func(yield func(Provisioned, error) bool) {
		o, err := a.orders(ctx, p)
		if err != nil {
			yield(Provisioned{}, err)
			return
		}
		tried, err := a.try(ctx, who, o)
		if err != nil {
			yield(Provisioned{}, err)
			return
		}
		if p.DryRun {
			for _, v := range tried {
				if !yield(v, nil) {
					return
				}
			}
			return
		}
		for outcome, err := range a.policy.CarryOut(ctx, who, o.list) {
			if err != nil {
				a.inForce(ctx) // of those above; a fault is logged, and tried again
				yield(Provisioned{}, fmt.Errorf("%w: the mailboxes above are changed, the others are not: do the same again to go on", err))
				return
			}
			if !yield(viewOutcome(outcome), nil) {
				a.inForce(ctx)
				return
			}
		}
		if err := a.inForce(ctx); err != nil {
			yield(Provisioned{}, err)
		}
	}
}

func viewOutcome(o policy.Outcome) Provisioned {
	m := policy.Mailbox{Address: o.Mailbox, Settings: o.Settings}
	return Provisioned{o.Mailbox.String(), string(m.State()), len(o.Changes) > 0, o.Changes}
}

// try returns what would become of each mailbox, in a dry run, or an error that lists all refusals.
func (a *Archive) try(ctx context.Context, who policy.Actor, o *orders) ([]Provisioned, error) {
	var tried []Provisioned
	i := 0
	for outcome, err := range a.policy.Try(ctx, who, o.list) {
		if err != nil {
			return nil, err
		}
		switch {
		case outcome.Refused != nil:
			o.refuse(o.lines[i], outcome.Refused)
		case o.DryRun:
			tried = append(tried, viewOutcome(outcome))
		}
		i++
	}
	return tried, o.refused()
}

// orders are the orders of a Provision, as they are read.
type orders struct {
	Provision
	domain   string // canonical; "" for any
	list     []policy.Order
	lines    []int                  // of each of them; 0 without lines
	seen     map[policy.Address]int // the line of each mailbox
	refusals []refusal
	more     int // refusals that are only counted
}

// refusal is what is wrong with a line; 0 without lines.
type refusal struct {
	line int
	err  error
}

// refuse notes an error of a line.
func (o *orders) refuse(line int, err error) {
	if len(o.refusals) == maxRefusals {
		o.more++
		return
	}
	o.refusals = append(o.refusals, refusal{line, err})
}

// refused returns everything that was refused, as one error, in the order of the lines.
func (o *orders) refused() error {
	if len(o.refusals) == 0 {
		return nil
	}
	slices.SortStableFunc(o.refusals, func(a, b refusal) int { return a.line - b.line })
	var list []error
	for _, r := range o.refusals {
		if r.line > 0 {
			r.err = fmt.Errorf("%s:%d: %w", o.Name, r.line, r.err)
		}
		list = append(list, r.err)
	}
	if o.more > 0 {
		list = append(list, fmt.Errorf("and %d errors more", o.more))
	}
	return fmt.Errorf("nothing was changed:\n%w", errors.Join(list...))
}

// orders reads the orders of a Provision.
func (a *Archive) orders(ctx context.Context, p Provision) (*orders, error) {
	o := &orders{Provision: p, seen: make(map[policy.Address]int)}
	if p.Domain != "" {
		var err error
		if o.domain, err = policy.CanonicalDomain(p.Domain); err != nil {
			return nil, err
		}
	}
	switch {
	case p.Lines != nil:
		if err := o.read(); err != nil {
			return nil, err
		}
		if len(o.list) == 0 && len(o.refusals) == 0 {
			return nil, fmt.Errorf("%w: %s: there is no mailbox in it: write one address a line", ErrRequest, p.Name)
		}
	case p.Domain != "":
		for m, err := range a.policy.Mailboxes(ctx) {
			if err != nil {
				return nil, err
			}
			neverOn := m.Settings.Since.IsZero() && m.Settings.Erasure.State == policy.ErasureNone
			if m.Address.Domain == o.domain && m.Address.Closed == "" && (neverOn || !p.Enable) {
				o.add(0, m.Address, nil)
			}
		}
		if len(o.list) == 0 && !a.policy.HasDomain(o.domain) {
			return nil, fmt.Errorf("%w: %s", policy.ErrUnknownDomain, o.domain)
		}
	default:
		return nil, fmt.Errorf("%w: name the mailboxes: give lines, a domain, or both", ErrRequest)
	}
	sets := slices.ContainsFunc(o.list, func(one policy.Order) bool { return len(one.Assignments) > 0 })
	if !p.Enable && !sets && len(o.list) > 0 {
		return nil, fmt.Errorf("%w: no setting is given: give KEY=VALUE, or name settings in the first line", ErrRequest)
	}
	return o, nil
}

// add adds the order of a mailbox with settings of its own.
func (o *orders) add(line int, address policy.Address, own []policy.Assignment) {
	o.list = append(o.list, policy.Order{Mailbox: address, Assignments: slices.Concat(own, o.Assignments), Enable: o.Enable})
	o.lines = append(o.lines, line)
}

// read reads the lines. It returns an error if they cannot be read at all, and notes what is wrong with single ones.
func (o *orders) read() error {
	text, err := io.ReadAll(io.LimitReader(o.Lines, MaxLines+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the mailboxes: %w", err)
	case len(text) > MaxLines:
		return fmt.Errorf("%w: %s: larger than %d bytes: split it", ErrRequest, o.Name, MaxLines)
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if head := firstLine(text); isHead(head) {
		o.readCSV(text, strings.Contains(head, ";"))
		return nil
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			o.line(number, unquoted(line), nil)
		}
	}
	return nil
}

// unquoted returns a line without the quotes that spreadsheets put around a field (RFC 4180 section 2). No address ends in a quote.
func unquoted(line string) string {
	if inner, ok := strings.CutPrefix(line, `"`); ok {
		if inner, ok = strings.CutSuffix(inner, `"`); ok {
			return strings.ReplaceAll(inner, `""`, `"`)
		}
	}
	return line
}

// firstLine returns the first line that is no comment.
func firstLine(text []byte) string {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return string(line)
		}
	}
	return ""
}

// headName is the name of the column with the addresses.
const headName = "mailbox"

// isHead reports whether a line names columns. No address does: it has an @.
func isHead(line string) bool {
	name, _, _ := strings.Cut(strings.ReplaceAll(line, ";", ","), ",")
	return strings.EqualFold(strings.Trim(strings.TrimSpace(name), `"`), headName)
}

// readCSV reads lines with settings.
func (o *orders) readCSV(text []byte, semicolon bool) {
	r := csv.NewReader(bytes.NewReader(text))
	r.Comment, r.FieldsPerRecord, r.TrimLeadingSpace = '#', -1, true
	if semicolon {
		r.Comma = ';'
	}
	var keys []string
	for {
		fields, err := r.Read()
		if err == io.EOF {
			return
		}
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			o.refuse(bad.Line, fmt.Errorf("%w: column %d: %w: put a field with quotes or commas in quotes, and double the quotes in it",
				ErrRequest, bad.Column, bad.Err))
			return // what follows may be taken for part of this field
		}
		number, _ := r.FieldPos(0)
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		if keys == nil {
			keys = fields
			if !o.goodHead(number, keys[1:]) {
				return
			}
			continue
		}
		if len(fields) != len(keys) {
			o.refuse(number, fmt.Errorf("%w: %d fields, and the first line names %d: write as many", ErrRequest, len(fields), len(keys)))
			continue
		}
		var own []policy.Assignment
		for i, value := range fields[1:] {
			if value != "" {
				own = append(own, policy.Assignment{Key: keys[i+1], Value: value})
			}
		}
		o.line(number, fields[0], own)
	}
}

// goodHead checks the names of the settings in the first line.
func (o *orders) goodHead(number int, keys []string) bool {
	before := len(o.refusals)
	for i, key := range keys {
		switch {
		case !slices.Contains(policy.Keys(), key):
			o.refuse(number, fmt.Errorf("%w: unknown setting %.100q: the settings are %s", ErrRequest, key, strings.Join(policy.Keys(), ", ")))
		case slices.Contains(keys[:i], key):
			o.refuse(number, fmt.Errorf("%w: %s is named twice: name it once", ErrRequest, key))
		case slices.ContainsFunc(o.Assignments, func(a policy.Assignment) bool { return a.Key == key }):
			o.refuse(number, fmt.Errorf("%w: %s is also given for all mailboxes: remove one of the two", ErrRequest, key))
		}
	}
	return len(o.refusals) == before
}

// line adds the order of a line.
func (o *orders) line(number int, text string, own []policy.Assignment) {
	address, err := policy.ParseMailbox(text)
	switch {
	case err != nil && strings.ContainsAny(text, ",;"):
		o.refuse(number, fmt.Errorf("%w; settings need a first line that names them, as mailbox,quota", err))
	case err != nil:
		o.refuse(number, err)
	case address.Domain == "":
		o.refuse(number, fmt.Errorf("%.100q: %w: want an address with its domain", text, policy.ErrAddress))
	case o.domain != "" && address.Domain != o.domain:
		o.refuse(number, fmt.Errorf("%w: %s does not lie in %s", ErrRequest, address, o.domain))
	case o.seen[address] > 0:
		o.refuse(number, fmt.Errorf("%w: %s is there already, in line %d", ErrRequest, address, o.seen[address]))
	default:
		o.seen[address] = number
		o.add(number, address, own)
	}
}
