package bundle

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/evidence"
	"copialettere/policy/pec"
	"copialettere/policy/pec/practice"
)

// maxText is the most bytes of a text for people that Verify reads: a sheet has less, whatever it is of.
const maxText = 16 << 20

// show notes what the bundle says of a message, for what is compared in the end.
func (v *verifier) show(listed *Listed, one *scanned) {
	s := shown{Folder: listed.Folder, Envelope: new(Envelope), Report: new(Report), SHA512: one.sha512, Facts: factsOf(one.found), Listed: *listed, NoProof: noProofOf(listed.NoProof)}
	if v.readJSON(s.Folder+"/"+envelopeName, s.Envelope) != nil || v.readJSON(s.Folder+"/"+reportName, s.Report) != nil {
		return // its checks have told
	}
	if listed.Result != s.Report.Result {
		v.fail("signature of "+s.Folder+"/"+messageName, fmt.Sprintf("%s says %q, and %s %q", manifestName, listed.Result, reportName, s.Report.Result))
	}
	if words := s.Report.Result.Label(); s.Report.Words != words {
		if v.manifest.Program == v.Program {
			v.fail("signature of "+s.Folder+"/"+messageName, fmt.Sprintf("%s says %q in words", reportName, s.Report.Words.Italian))
		}
		s.Report.Words = words
	}
	expect := func(names ...string) {
		for _, name := range names {
			v.known[s.Folder+"/"+name] = true
		}
	}
	expect(messageName, envelopeName, digestsName, reportName)
	if len(s.Report.Chain) > 0 {
		expect(chainName)
	}
	if s.Report.Proven {
		expect(anchorName)
	}
	if s.Proof = v.shownProof(s.Folder); s.Proof != nil {
		expect(proofName, checkpointName, keysName)
		if len(s.Proof.Stamp) > 0 {
			expect(stampName, tsaName)
		}
		if listed.NoProof != "" {
			v.fail("log of the archive: "+s.Folder+"/"+messageName, manifestName+" says that there is no proof of it, and there is one")
		}
	}
	v.shown = append(v.shown, s)
}

// shownProof returns what the texts for people tell of the proof of a message; nil for none.
func (v *verifier) shownProof(folder string) *Proof {
	p := &Proof{Proof: new(journal.Proof)}
	if v.readJSON(folder+"/"+proofName, &p.Proof.Proof) != nil {
		return nil
	}
	c, err := evidence.ParseCheckpoint(string(p.Proof.Proof.Checkpoint.Data))
	if err != nil {
		return nil
	}
	p.Checkpoint = c
	text := func(name string) []byte {
		b, _ := v.read(folder+"/"+name, 1<<20) // its checks have told
		return b
	}
	p.Stamp, p.Authority, p.Keys = text(stampName), text(tsaName), strings.Fields(string(text(keysName)))
	return p
}

// texts compares what the bundle says in tables and in texts for people with what its other files say.
func (v *verifier) texts() {
	if v.manifest.Kind == OfPractice && v.practices != nil {
		v.known[practiceName], v.known[tableName] = true, true
		v.result(tableName, v.table())
		v.result("messages of the practice", v.belong())
	}
	if v.manifest.NoLog == "" {
		v.known[changesName], v.known[accessesName] = true, true
		for _, log := range []struct {
			name  string
			check func() error
		}{{changesName, v.changes}, {accessesName, v.accesses}} {
			if err := log.check(); err != nil {
				v.fail(log.name, err.Error())
				continue
			}
			v.ok(log.name, "its form and its times; only "+sumsName+" holds what it tells")
		}
	}
	v.known[manifestName], v.known[sheetName], v.known[verifyName], v.known[sumsName] = true, true, true, true
	if len(v.manifest.Missing) > 0 {
		v.known[incompleteName] = true
		v.result(incompleteName, v.same(incompleteName, v.manifest.incompleteText()))
	}
	if len(v.shown) != len(v.manifest.Messages) {
		return // what is wrong with a message was told
	}
	w := &writer{plan: plan{Options: Options{Zone: time.UTC}, practices: v.practices}, manifest: v.manifest, shown: v.shown}
	v.result(verifyName, v.verifyText(w))
	v.result(sheetName, v.sheet(w))
}

// others tells of files that are no part of such a bundle, also where SHA256SUMS names them.
func (v *verifier) others() {
	if len(v.shown) != len(v.manifest.Messages) {
		return
	}
	err := fs.WalkDir(v.files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !v.known[name] {
			v.fail(sumsName, fmt.Sprintf("%.200q is no file of such a bundle", name))
		}
		return err
	})
	if err != nil {
		v.fail(sumsName, err.Error())
	}
}

// same returns an error if a file is not a text.
func (v *verifier) same(name, text string) error {
	b, err := v.read(name, maxText)
	if err == nil && string(b) != text {
		err = fmt.Errorf("it is not what %s has: %w", manifestName, differs(string(b), text))
	}
	return err
}

// differs names the first line in which two texts differ.
func differs(got, want string) error {
	lines := strings.Split(want, "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(lines) || line != lines[i] {
			return fmt.Errorf("line %d says %.200q", i+1, strings.TrimSpace(line))
		}
	}
	return errors.New("its end is cut off")
}

// table compares practice.csv with practice.json.
func (v *verifier) table() error {
	t, err := practiceRows(v.practices)
	if err != nil {
		return err
	}
	t.csv.Flush()
	b, err := v.read(tableName, maxTable)
	if err == nil && !bytes.Equal(b, t.Bytes()) {
		err = fmt.Errorf("it is not what %s has: %w", practiceName, differs(string(b), t.String()))
	}
	return err
}

// belong compares what practice.json says of the messages of the practice with those that the bundle has.
func (v *verifier) belong() error {
	if len(v.manifest.Missing) > 0 || len(v.shown) != len(v.manifest.Messages) {
		return nil // whether one of them was left out cannot be told
	}
	type place struct {
		of  string
		uid uint32
	}
	there := make(map[place]*shown)
	for i := range v.shown {
		there[place{v.shown[i].Listed.Of, v.shown[i].Listed.UID}] = &v.shown[i]
	}
	for _, p := range v.practices {
		if p.Folder != "" {
			s := there[place{p.Folder, p.UID}]
			switch {
			case s == nil:
				return fmt.Errorf("the message that was sent, %s %d, is not in the bundle", p.Folder, p.UID)
			case p.Time == nil || !p.Time.Equal(s.Envelope.Time):
				return fmt.Errorf("%s says another time of %s %d than its %s", practiceName, p.Folder, p.UID, envelopeName)
			case !alike(p.Subject, s.Envelope.Subject):
				return fmt.Errorf("%s says another subject of %s %d than its %s", practiceName, p.Folder, p.UID, envelopeName)
			}
		}
		if err := v.receiptsOf(p, func(r *practice.Receipt) *shown { return there[place{r.Folder, r.UID}] }); err != nil {
			return err
		}
	}
	return nil
}

// receiptsOf compares what practice.json says of receipts with the messages in the bundle.
func (v *verifier) receiptsOf(p *practice.Practice, find func(*practice.Receipt) *shown) error {
	for _, r := range p.Receipts {
		s := find(&r)
		switch {
		case s == nil && len(v.shown) >= maxMessages:
		case s == nil:
			return fmt.Errorf("the receipt %s %d is not in the bundle", r.Folder, r.UID)
		case !r.Time.Equal(s.Envelope.Time):
			return fmt.Errorf("%s says another time of %s %d than its %s", practiceName, r.Folder, r.UID, envelopeName)
		case r.NotBelieved != s.Listed.NotBelieved:
			return fmt.Errorf("%s and %s do not agree whether %s %d counts", practiceName, manifestName, r.Folder, r.UID)
		}
	}
	return nil
}

// alike reports whether a subject is another one, either of them cut off at the length that is kept.
func alike(a, b string) bool {
	a, b = strings.ToValidUTF8(clip(a), "\ufffd"), strings.ToValidUTF8(clip(b), "\ufffd")
	return strings.HasPrefix(a, b) && (b != "" || a == "") || strings.HasPrefix(b, a) && a != ""
}

// eachRow reads a table of log/, and calls fn with each row. The columns must be those of this layout.
func (v *verifier) eachRow(name string, columns []string, fn func(row []string) error) error {
	b, err := v.read(name, maxTable)
	if err != nil {
		return err
	}
	text, marked := bytes.CutPrefix(b, []byte("\ufeff"))
	if !marked {
		return errors.New("its first bytes are not those of a table of this program")
	}
	r := csv.NewReader(bytes.NewReader(text))
	for n := 0; ; n++ {
		row, err := r.Read()
		switch {
		case err == io.EOF && n > 0:
			return nil
		case err == nil && n == 0 && !slices.Equal(row, columns):
			err = fmt.Errorf("its columns are %.200q", row)
		case err == nil && n > 0:
			err = fn(row)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n+1, err)
		}
	}
}

// timeIn reads a time of a table. It must not be after the bundle was made.
func (v *verifier) timeIn(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err == nil && at.After(v.manifest.Created.Add(clockStep)) {
		err = fmt.Errorf("%s is after the bundle was made: a clock was wrong, or it was changed", text)
	}
	return at, err
}

// changes checks log/changes.csv: its lines are in the order of their times.
func (v *verifier) changes() error {
	var last time.Time
	return v.eachRow(changesName, changesColumns, func(row []string) error {
		at, err := v.timeIn(row[0])
		switch {
		case err != nil:
			return err
		case at.Before(last):
			return fmt.Errorf("%s is before the line above", row[0])
		case row[1] == "" || row[2] == "":
			return errors.New("it does not say who, or what")
		}
		last = at
		return nil
	})
}

// accesses checks log/access.csv: it tells of nothing that ended before the first of the messages came.
func (v *verifier) accesses() error {
	var first time.Time
	for _, s := range v.shown {
		if at := s.Envelope.Time; first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return v.eachRow(accessesName, accessesColumns, func(row []string) error {
		at, err := v.timeIn(row[0])
		last := at
		if err == nil && row[1] != "" {
			last, err = v.timeIn(row[1])
		}
		if err == nil {
			_, err = strconv.ParseUint(row[2], 10, 64)
		}
		switch {
		case err != nil:
			return err
		case last.Before(at):
			return fmt.Errorf("it ends at %s, before it begins", row[1])
		case last.Before(first.Truncate(time.Second)):
			return fmt.Errorf("it ended at %s, before the first message came", row[0])
		case row[3] == "":
			return errors.New("it does not say who")
		}
		return nil
	})
}

// verifyText checks VERIFY.txt: each command must be one that this bundle has.
func (v *verifier) verifyText(w *writer) error {
	want := w.verifyText()
	if v.manifest.Program == v.Program {
		return v.same(verifyName, want)
	}
	b, err := v.read(verifyName, maxText)
	if err != nil {
		return err
	}
	got := commandsIn(string(b))
	for _, command := range got {
		if !slices.Contains(commandsIn(want), command) {
			return fmt.Errorf("it has a command that this bundle does not need: %.200q", command)
		}
	}
	if len(got) == 0 {
		return errors.New("it has no command")
	}
	return nil
}

// commandsIn returns the commands of VERIFY.txt.
func commandsIn(text string) (list []string) {
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			list = append(list, strings.TrimSpace(command))
		}
	}
	return list
}

var (
	sheetTime   = regexp.MustCompile(`\d\d/\d\d/\d{4} \d\d:\d\d:\d\d \([+&#\d;-]+\)`)
	sheetDigest = regexp.MustCompile(`<code>[0-9a-f]{64,128}</code>`)
	sheetTag    = regexp.MustCompile(`<[a-zA-Z]+`)
)

// inUTC returns a sheet with all its times in UTC: it does not say in which zone it was made.
func inUTC(sheet string) string {
	return sheetTime.ReplaceAllStringFunc(sheet, func(text string) string {
		at, err := time.Parse(sheetTimeLayout, strings.ReplaceAll(text, "&#43;", "+"))
		if err != nil {
			return text
		}
		return at.UTC().Format(sheetTimeLayout)
	})
}

// sheet checks scheda.html: it must say what the files say.
func (v *verifier) sheet(w *writer) error {
	b, err := v.read(sheetName, maxText)
	if err != nil {
		return err
	}
	want, err := w.sheet()
	if err != nil {
		return err
	}
	if v.manifest.Program == v.Program {
		if got, want := inUTC(string(b)), inUTC(string(want)); got != want {
			return fmt.Errorf("it says something else than the files: %w", differs(got, want))
		}
		return nil
	}
	for _, find := range []*regexp.Regexp{sheetDigest, sheetTag} {
		known := find.FindAllString(string(want), -1)
		for _, one := range find.FindAllString(string(b), -1) {
			if !slices.Contains(known, one) {
				return fmt.Errorf("it has %.150q, which is of none of the files", one)
			}
		}
	}
	for _, s := range w.shown[:min(len(w.shown), maxSheetMessages)] {
		for _, digest := range []string{s.Listed.SHA256, s.SHA512} {
			if !bytes.Contains(b, []byte(digest)) {
				return fmt.Errorf("it lacks the digest %s of %s/%s", digest, s.Folder, messageName)
			}
		}
	}
	return nil
}

// sameStates returns an error if a practice says something else than its receipts.
func sameStates(p *practice.Practice, made *pec.Practice) error {
	got := make(map[string]practice.Outcome)
	for key, o := range made.States {
		got[key.Recipient] = practice.OutcomeOf(key.Recipient, o)
	}
	for _, said := range p.Recipients {
		// These are not the receipts' own: how long one has been awaited, and how a brief one compares with the message.
		said.Waiting, said.Brief, said.BriefParts = "", "", nil
		receipts, ok := got[said.Address]
		if !ok {
			receipts = practice.Outcome{Address: said.Address}
		}
		if !sameOutcome(said, receipts) {
			return fmt.Errorf("%.200q: %s says %q, or a time or a reason, that the receipts do not: they say %q", said.Address, practiceName, said.Status, receipts.Status)
		}
		delete(got, said.Address)
	}
	for address := range got {
		return fmt.Errorf("%.200q: %s lacks the recipient", address, practiceName)
	}
	return nil
}
