package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal/kv"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// Each file of testdata/stories shows what an operator does with a running daemon, and sees. The test carries out a line that is not indented:
//
//	config LINE                  a line of the configuration, after those that all stories have; before the first start
//	past MAILBOX N MONTH ...     N letters of 400 bytes that came in each of these months; before the first start
//	daemon start, stop, kill     kill is SIGKILL
//	daemon logs TEXT             waits until the daemon has logged a line with that text since it was started
//	> lmtp FROM TO ... : WHAT    a message comes from the MTA. TO may be MAILBOX=ORIGINAL for mail that came through an alias
//	> smtp FROM TO ... : WHAT    a message comes from the submission service, as sent by the mailbox FROM
//	$ copialettere ARGUMENTS     a command, as the daemon's user
//	$ ls FOLDER                  a folder of the data folder
//	damage MONTH TEXT            a disk flips a bit where the last TEXT stands in the tables of a month; the daemon must not run
//
// WHAT is the name and size of a letter, or pec:NAME for a message of pecMessages. In the configuration, $bundle and $domains are files for
// [pec], and $later is a time of day half a day from now. M-00 stands for the month of now, M-13 for the one 13 months before,
// and ~DAY for the day of now in the name of a mailbox that was handed over.
//
// Indented lines are the answer: replies, output, and the exit status unless it is 0. Times, ids and all that depends on the machine are masked.
// "go test -run Stories -update" writes the answers as they come. Every story must end with a clean verify.
var update = flag.Bool("update", false, "write what came into the stories")

func TestStories(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/stories/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("stories: %v, %v", files, err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			awaitDay()
			text := readText(t, name)
			came := newStory(t).play(text)
			if *update && !t.Failed() {
				if err := os.WriteFile(name, []byte(came), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if came != text {
				t.Errorf("%s\ncame:\n%s", firstDifference(text, came), came)
			}
		})
	}
}

// awaitDay waits for the next day, in UTC, if this one is about to end: all of a story must happen on one day.
func awaitDay() {
	const story = 60 * time.Second
	if next := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour); time.Until(next) < story {
		time.Sleep(time.Until(next))
	}
}

// firstDifference returns the first line that differs.
func firstDifference(want, came string) string {
	a, b := strings.Split(want, "\n"), strings.Split(came, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d: want %q, came %q", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("want %d lines, came %d", len(a), len(b))
}

// story is a file being played.
type story struct {
	t       *testing.T
	folder  string
	now     time.Time
	config  string
	past    []pastMail
	daemon  *rig.Daemon // nil before the first start
	started int         // lines of its log when it was last started
	running bool
	lmtp    string // addresses of the listeners
	smtp    string
	pec     map[string][]byte
	came    strings.Builder
}

const storyConfig = `
[received]
listen     = ["tcp:%s"]
next_hop   = "maildir:%s"
hello_name = "hook.test"

[sent]
listen     = ["tcp:%s"]
next_hop   = %q
identity   = "mail-from"
hello_name = "hook.test"

[[domain]]
name = "alpha.test"
postmasters = ["postmaster@alpha.test"]
`

func newStory(t *testing.T) *story {
	s := &story{t: t, folder: rig.Folder(t), now: time.Now()}
	s.lmtp, s.smtp = fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	hop := nexthoptest.Start(t, nexthoptest.Script{SMTP: true})
	s.config = fmt.Sprintf(storyConfig, s.lmtp, filepath.Join(s.folder, "hook", "mail"), s.smtp, hop.Spec())
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	s.pec = pecMessages(office)
	s.write("bundle.pem", office.Authority.PEM())
	s.write("domains", []byte("beta.test\ngamma.test\n!ext.test\n"))
	return s
}

// pecMessages returns the messages of a practice of anna@alpha.test: bruno@beta.test gets the message, carla@gamma.test does not, and
// dario@ext.test has no certified mailbox.
func pecMessages(office *pectest.Office) map[string][]byte {
	c := office.Send(pectest.Mail{
		From: anna, To: []string{"bruno@beta.test", "carla@gamma.test", "dario@ext.test"}, Subject: "Contratto", Text: "In allegato.\n",
		MessageID: "<m1@client.alpha.test>", Attachments: []pectest.Attachment{pectest.Binary("contratto.pdf", 3000, 1)},
	}, "breve")
	return map[string][]byte{
		"original": c.Original, "acceptance": c.Acceptance, "envelope": c.Envelope, "taken": c.Taken,
		"delivery": c.Deliveries[0].Message, "tampered": pectest.Tampered(c.Deliveries[0].Message),
		"late": c.Notice(pectest.Notice{Class: pec.PreavvisoErroreConsegna, Recipient: "carla@gamma.test", After: 12 * time.Hour}),
		"failure": c.Notice(pectest.Notice{
			Class: pec.ErroreConsegna, Recipient: "carla@gamma.test", After: 13 * time.Hour, Detail: "5.1.1 - casella inesistente",
		}),
	}
}

func (s *story) write(name string, content []byte) {
	if err := os.WriteFile(filepath.Join(s.folder, name), content, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// play carries out the lines of a story, and returns the story with the answers that came.
func (s *story) play(text string) string {
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		s.came.WriteString(line + "\n")
		if line != "" && line[0] != '#' {
			s.do(line)
		}
	}
	s.daemon.Verify(s.t)
	if s.running {
		s.daemon.Stop(s.t)
		s.daemon.Verify(s.t)
	}
	return s.came.String()
}

// say writes down an answer, masked.
func (s *story) say(text string) {
	for line := range strings.Lines(s.masked(text)) {
		s.came.WriteString(strings.TrimRight("  "+line, " \n") + "\n")
	}
}

func (s *story) do(line string) {
	kind, rest, _ := strings.Cut(line, " ")
	switch kind {
	case "config":
		s.config += s.resolved(rest) + "\n"
	case "past":
		s.addPast(strings.Fields(rest))
	case "daemon":
		s.command(rest)
	case ">":
		s.mail(rest)
	case "$":
		s.shell(s.resolved(rest))
	case "damage":
		month, text, _ := strings.Cut(s.resolved(rest), " ")
		s.damage(month, text)
	default:
		s.t.Fatalf("bad line %q", line)
	}
}

// addPast notes letters of earlier months.
func (s *story) addPast(words []string) {
	n, err := strconv.Atoi(words[1])
	if err != nil {
		s.t.Fatalf("past: %v", err)
	}
	for _, month := range words[2:] {
		before, err := strconv.Atoi(strings.TrimPrefix(month, "M-"))
		if err != nil {
			s.t.Fatalf("past: month %q", month)
		}
		for i := range n {
			s.past = append(s.past, pastMail{words[0], before, letter(fmt.Sprintf("%s-%s-%d", words[0], month, i+1), 400)})
		}
	}
}

// command starts or stops the daemon, or waits for its log.
func (s *story) command(what string) {
	switch text, logs := strings.CutPrefix(what, "logs "); {
	case logs:
		var lines []string
		rig.Wait(s.t, 20*time.Second, "the daemon to log "+text, func() bool {
			lines = s.daemon.Logged(s.t, "")[s.started:]
			for len(lines) > 0 && !strings.Contains(lines[0], text) {
				lines = lines[1:]
			}
			return len(lines) > 0
		})
		_, line, _ := strings.Cut(lines[0], " ") // without its time
		s.say(line)
	case what == "start":
		s.install()
		s.started = len(s.daemon.Logged(s.t, ""))
		s.daemon.Start(s.t)
		s.running = true
	case what == "stop":
		s.daemon.Stop(s.t)
		s.running = false
	case what == "kill":
		s.daemon.Kill()
		s.running = false
	default:
		s.t.Fatalf("bad line %q", what)
	}
}

// install makes the data folder, once.
func (s *story) install() {
	if s.daemon == nil {
		s.daemon = rig.Install(s.t, program, filepath.Join(s.folder, "hook"), s.config)
		archivePast(s.t, s.daemon, s.now, s.past)
	}
}

// words splits at spaces that are not in quotation marks.
var words = regexp.MustCompile(`"[^"]*"|\S+`)

func (s *story) shell(line string) {
	s.install()
	arguments := words.FindAllString(line, -1)
	for i, a := range arguments {
		arguments[i] = strings.Trim(a, `"`)
	}
	var output string
	status := 0
	switch arguments[0] {
	case "copialettere":
		var stdout []byte
		var complaints string
		stdout, complaints, status = s.daemon.Command(s.t, arguments[1:]...)
		output = string(stdout) + complaints
	case "ls":
		command := exec.Command("ls", arguments[1:]...)
		command.Dir = s.daemon.Data
		stdout, err := command.CombinedOutput()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			s.t.Fatal(err)
		}
		output, status = string(stdout), command.ProcessState.ExitCode()
	default:
		s.t.Fatalf("bad line %q", line)
	}
	s.say(output)
	if status != 0 {
		s.say(fmt.Sprintf("exit status %d", status))
	}
}

// damage flips a bit of the last place where a text stands in the tables of a month.
func (s *story) damage(month, text string) {
	tables, err := filepath.Glob(filepath.Join(s.daemon.Data, "journal", month, "*.ldb"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, table := range slices.Backward(tables) {
		content, err := os.ReadFile(table)
		if err != nil {
			s.t.Fatal(err)
		}
		if at := bytes.LastIndex(content, []byte(text)); at >= 0 {
			content[at] ^= 1
			if err := os.WriteFile(table, content, 0o600); err != nil {
				s.t.Fatal(err)
			}
			return
		}
	}
	s.t.Fatalf("no table of %s has %q", month, text)
}

// mail sends a message to the hook and says its final replies.
func (s *story) mail(rest string) {
	envelope, what, _ := strings.Cut(rest, " : ")
	words := strings.Fields(envelope)
	mail := rig.Mail{From: words[1], Message: s.message(what)}
	switch words[0] {
	case "lmtp":
		for _, to := range words[2:] {
			mailbox, original, ok := strings.Cut(to, "=")
			if !ok {
				original = mailbox
			}
			mail.To = append(mail.To, fmt.Sprintf("<%s> ORCPT=rfc822;%s", mailbox, original))
		}
		replies, err := rig.Deliver("tcp", s.lmtp, mail)
		if err != nil {
			s.t.Fatalf("%s: %v", rest, err)
		}
		s.sayReplies(replies)
	case "smtp":
		mail.To = words[2:]
		rig.Send(s.t, s.smtp, mail)
	default:
		s.t.Fatalf("bad line %q", rest)
	}
}

// sayReplies says the reply for each recipient; where many were accepted, how many.
func (s *story) sayReplies(replies []rig.Reply) {
	if len(replies) > 3 && !slices.ContainsFunc(replies, func(r rig.Reply) bool { return r.Code != 250 }) {
		s.say(fmt.Sprintf("%v, and so for the other %d", replies[0], len(replies)-1))
		return
	}
	for _, r := range replies {
		s.say(r.String())
	}
}

func (s *story) message(what string) []byte {
	if name, ok := strings.CutPrefix(what, "pec:"); ok {
		if s.pec[name] == nil {
			s.t.Fatalf("no certified message %q", name)
		}
		return s.pec[name]
	}
	name, size, _ := strings.Cut(what, " ")
	n, err := strconv.Atoi(size)
	if err != nil {
		s.t.Fatalf("message %q: want a name and a size", what)
	}
	return letter(name, n)
}

var placeholder = regexp.MustCompile(`M-\d\d|~DAY\b|\$\w+`)

// resolved replaces the placeholders of a line.
func (s *story) resolved(line string) string {
	return placeholder.ReplaceAllStringFunc(line, func(p string) string {
		switch p {
		case "$bundle":
			return filepath.Join(s.folder, "bundle.pem")
		case "$domains":
			return filepath.Join(s.folder, "domains")
		case "~DAY":
			return "~" + s.now.UTC().Format(time.DateOnly)
		case "$later":
			return s.now.Add(12 * time.Hour).Format("15:04")
		}
		before, err := strconv.Atoi(strings.TrimPrefix(p, "M-"))
		if err != nil {
			s.t.Fatalf("what is %s?", p)
		}
		return string(monthBefore(s.now, before))
	})
}

// masks are patterns of what differs from run to run, and what takes its place.
var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\([A-Z2-7]{13}\)`), "(id)"},
	{regexp.MustCompile(`"transaction":"[A-Z2-7]{13}"`), `"transaction":"(id)"`},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)`), "(time)"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b`), "YYYY-MM-DD hh:mm:ss"},
	{regexp.MustCompile(`~\d{4}-\d\d-\d\d\b`), "~DAY"},
	{regexp.MustCompile(`\b\d{6}\.ldb\b`), "(table).ldb"},
	{regexp.MustCompile(`block at byte \d+`), "block at byte (number)"},
	{regexp.MustCompile(`\.damaged-\d+\b`), ".damaged-(seconds)"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:(port)"},
	{regexp.MustCompile(`"uidvalidity":\d+`), `"uidvalidity":(number)`},
	// How well messages compress is for other tests.
	{regexp.MustCompile(`chunks of [^,]* stored`), "chunks of (size) stored"},
	{regexp.MustCompile(`"stored":\d+`), `"stored":(bytes)`},
}

var month = regexp.MustCompile(`\b20\d\d-(0[1-9]|1[0-2])\b`)

func (s *story) masked(text string) string {
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.with)
	}
	text = month.ReplaceAllStringFunc(text, func(name string) string {
		m, err := kv.ParseMonth(name)
		if err != nil {
			s.t.Fatal(err)
		}
		before := 0
		for now := kv.MonthOf(s.now); m < now; m = m.Next() {
			before++
		}
		return fmt.Sprintf("M-%02d", before)
	})
	return strings.ReplaceAll(text, s.folder, "$folder")
}
