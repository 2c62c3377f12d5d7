package notice

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Cause is why the operator gets a notice.
type Cause string

// The causes.
const (
	CauseRetention  Cause = "retention"  // a run of the retention was refused
	CauseRoutes     Cause = "routes"     // mailboxes are enabled, but Postfix does not route their mail through the hook
	CauseCheckpoint Cause = "checkpoint" // a checkpoint, to be kept outside the archive
	CauseFaults     Cause = "faults"     // the archive has faults: what a check of the journal found

	CausePreservation Cause = "preservation" // certified mail cannot be handed to legal preservation, or receipts of its packages have not come
)

// maxOperatorText is how many characters a notice for the operator shows of its text.
const maxOperatorText = 8000

// Operator takes a notice for the operator without waiting for anything: what happened, and the remedy, in English, in one or more lines. The
// same text of the same cause is told once within Window. Where the configuration names no address of the operator, nothing is told.
func (n *Pump) Operator(cause Cause, text string) {
	n.Tell(OfOperator(cause, text, time.Now()))
}

// RetentionRefused tells the operator that a run of the retention was refused, and the reasons (journal.ExpireReport.Abnormal).
func (n *Pump) RetentionRefused(reasons []string) {
	n.Operator(CauseRetention, "A run of the retention was refused, and nothing was deleted:\n"+list(reasons)+"\n"+
		"What it would delete: copialettere retention -dry-run\nIf that is right: copialettere retention -yes")
}

// Unrouted tells the operator which mailboxes are enabled while Postfix does not route their mail through the hook.
func (n *Pump) Unrouted(mailboxes []string) {
	n.Operator(CauseRoutes, "These mailboxes have an archive, but Postfix does not route all of their mail through the hook. What it does not route is not archived:\n"+
		list(mailboxes)+"\nWhat Postfix answers, and the remedy: copialettere check ADDR")
}

// Faulty tells the operator of faults of the archive that a verification in the background has found: how many, and the first ones in words.
func (n *Pump) Faulty(faults int64, details []string) {
	found := "1 fault"
	if faults != 1 {
		found = fmt.Sprintf("%d faults", faults)
	}
	n.Operator(CauseFaults, "The verification of the archive has found "+found+":\n"+list(details)+"\n"+
		"All that is wrong now: copialettere verify\nA month that cannot be read, or has lost messages, can be put back from a backup: see contrib/operating.md")
}

// maxItems is how many items a notice for the operator lists.
const maxItems = 100

// list writes one item a line.
func list(items []string) string {
	var b strings.Builder
	for _, item := range items[:min(len(items), maxItems)] {
		b.WriteString("- " + item + "\n")
	}
	if more := len(items) - maxItems; more > 0 {
		fmt.Fprintf(&b, "- and %d more\n", more)
	}
	return b.String()
}

// OfOperator returns a notice for the operator: see Pump.Operator.
func OfOperator(cause Cause, text string, now time.Time) Notice {
	digest := sha256.Sum256([]byte(text))
	return Notice{Cause: cause, Text: text, Time: now, ID: hex.EncodeToString(digest[:8])}
}

// kind names what a notice is about, for logs and for the history.
func (n *Notice) kind() string {
	if n.Cause != "" {
		return "operator-" + string(n.Cause)
	}
	switch {
	case n.Kind == kindCode:
		return string(n.Kind)
	case n.Kind != "":
		return n.Event.String() + "-" + string(n.Kind)
	}
	return n.Event.String()
}

// cleanLines makes a text of several lines fit to be shown, as clean does for one.
func cleanLines(value string) string {
	if r := []rune(value); len(r) > maxOperatorText {
		value = string(r[:maxOperatorText-1]) + "…"
	}
	lines := strings.Split(strings.TrimSpace(value), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(harmless(line)), " ")
	}
	return strings.Join(lines, "\n")
}

// operatorText returns the text for a cause.
func operatorText(cause Cause) text {
	subject := "faults"
	switch cause {
	case CauseRetention:
		subject = "a run of the retention was refused"
	case CauseRoutes:
		subject = "mailboxes are enabled, but not routed through the hook"
	case CauseCheckpoint:
		subject = "a checkpoint of the archive"
	case CauseFaults:
		subject = "the archive has faults"
	case CausePreservation:
		subject = "the hand-over to legal preservation is not complete"
	}
	return text{"copialettere on {host}: " + subject, "{time}\n\n{text}\n"}
}

// operatorFooter is the footer of notices for the operator, in place of footer.
const operatorFooter = "This notice was sent by the program copialettere on {host} to the address notices.operator of its configuration.\n"
