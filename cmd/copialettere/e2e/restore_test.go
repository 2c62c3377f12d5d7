package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// cache is what a mail program keeps: which message it saw under which UID of which UIDVALIDITY of a folder. It believes that for ever (RFC 9051 section 2.3.1.1).
type cache struct {
	t        *testing.T
	w        *writer
	messages map[string]string // subject
	next     map[string]string // UIDNEXT that was told, by folder and UIDVALIDITY
}

var (
	untaggedList = regexp.MustCompile(`(?m)^\* LIST \(([^)]*)\) "/" "?([^"\r\n]+)"?\r?$`)
	validityOf   = regexp.MustCompile(`\[UIDVALIDITY (\d+)\]`)
	nextOf       = regexp.MustCompile(`\[UIDNEXT (\d+)\]`)
	fetchedUID   = regexp.MustCompile(`UID (\d+)`)
	fetchedName  = regexp.MustCompile(`Subject: (\S+)`)
)

func (c *cache) say(command string) string {
	c.t.Helper()
	answer, err := c.w.say(command)
	if err != nil {
		c.t.Fatalf("%s: %v", command, err)
	}
	return answer
}

// look looks at all folders, as a program that keeps messages does. Whatever it finds must agree with what it has kept. It returns the subjects that are there now.
func (c *cache) look() (there []string) {
	c.t.Helper()
	for _, folder := range untaggedList.FindAllStringSubmatch(c.say(`LIST "" "*"`), -1) {
		if strings.Contains(strings.ToLower(folder[1]), `\noselect`) {
			continue
		}
		selected := c.say(fmt.Sprintf("EXAMINE %q", folder[2]))
		validity, next := validityOf.FindStringSubmatch(selected), nextOf.FindStringSubmatch(selected)
		if validity == nil || next == nil {
			c.t.Fatalf("%s: %s", folder[2], selected)
		}
		at := folder[2] + " " + validity[1]
		if before := c.next[at]; len(before) > len(next[1]) || len(before) == len(next[1]) && before > next[1] {
			c.t.Errorf("%s: UIDNEXT %s, and it was %s", at, next[1], before)
		}
		c.next[at] = next[1]
		for one := range strings.SplitSeq(c.say("UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])"), "* ") {
			uid, name := fetchedUID.FindStringSubmatch(one), fetchedName.FindStringSubmatch(one)
			if uid == nil || name == nil {
				continue
			}
			key := at + " " + uid[1]
			if before, ok := c.messages[key]; ok && before != name[1] {
				c.t.Errorf("%s is %s, and was %s", key, name[1], before)
			}
			c.messages[key] = name[1]
			there = append(there, name[1])
		}
	}
	slices.Sort(there)
	return slices.Compact(there)
}

// keptIn returns the subjects of all messages that mbsync keeps, sorted.
func keptIn(t *testing.T, place string) (subjects []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(place, "box", ".*", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if folder := filepath.Base(filepath.Dir(file)); folder != "cur" && folder != "new" {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		subjects = append(subjects, fetchedName.FindStringSubmatch(string(b))[1])
	}
	slices.Sort(subjects)
	return subjects
}

// TestRestoredUIDs restores a backup after which mail came, was seen by mail programs, and is lost; then other mail comes. A program that keeps what it saw never takes
// one message for another.
func TestRestoredUIDs(t *testing.T) {
	t.Parallel()
	s := newIMAP(t, true)
	w := &writer{address: fmt.Sprintf("127.0.0.1:%d", s.starttls), state: make(map[string]string)}
	defer w.close()
	c := &cache{t: t, w: w, messages: make(map[string]string), next: make(map[string]string)}
	deliver := func(subjects ...string) {
		t.Helper()
		for _, subject := range subjects {
			text := fmt.Sprintf("From: <%s>\r\nSubject: %s\r\nMessage-ID: <%[2]s@ext.test>\r\n\r\nText of %[2]s\r\n", ester, subject)
			if replies, err := rig.Deliver("tcp", s.lmtp, rig.Mail{From: ester, To: []string{"<" + anna + "> ORCPT=rfc822;" + anna}, Message: []byte(text)}); err != nil || replies[0].Code != 250 {
				t.Fatalf("%v, %v", replies, err)
			}
		}
	}
	place := t.TempDir()
	config := s.mbsyncConfig(t, place)
	mbsync := func() string {
		out, err := exec.Command("mbsync", "-c", config, "-a").CombinedOutput()
		return fmt.Sprintf("%v\n%s", err, out)
	}
	wants := func(what string, subjects ...string) {
		t.Helper()
		if got := c.look(); !slices.Equal(got, subjects) {
			t.Errorf("%s: %q, want %q", what, got, subjects)
		}
	}
	deliver("a1", "a2", "a3")
	wants("before the backup", "a1", "a2", "a3")
	backup := filepath.Join(filepath.Dir(s.hook.Data), "backup")
	s.hook.Must(t, "backup", backup, "-begin")
	deliver("b1", "b2")
	wants("after the backup", "a1", "a2", "a3", "b1", "b2")
	if said := mbsync(); !strings.HasPrefix(said, "<nil>") {
		t.Fatalf("mbsync: %s", said)
	}
	w.close()
	s.hook.Stop(t)
	if err := os.Rename(s.hook.Data, s.hook.Data+".lost"); err != nil {
		t.Fatal(err)
	}
	s.hook.Must(t, "restore-backup", backup)
	s.hook.Start(t)
	wants("restored", "a1", "a2", "a3")
	deliver("c1", "c2", "c3")
	wants("other mail after that", "a1", "a2", "a3", "c1", "c2", "c3")
	// mbsync does not go on by itself where much of what it has is gone. It takes nothing for something else, and a new copy has all.
	said := mbsync()
	if !strings.Contains(said, "UIDVALIDITY") {
		t.Errorf("mbsync does not tell of the new UIDVALIDITY: %s", said)
	}
	if got, want := keptIn(t, place), []string{"a1", "a2", "a3", "b1", "b2"}; !slices.Equal(got, want) {
		t.Errorf("mbsync has %q, want %q: %s", got, want, said)
	}
	place = t.TempDir()
	config = s.mbsyncConfig(t, place)
	if said := mbsync(); !strings.HasPrefix(said, "<nil>") {
		t.Errorf("mbsync, anew: %s", said)
	}
	if got, want := keptIn(t, place), []string{"a1", "a2", "a3", "c1", "c2", "c3"}; !slices.Equal(got, want) {
		t.Errorf("mbsync has, anew, %q, want %q", got, want)
	}
	s.hook.Verify(t)
}
