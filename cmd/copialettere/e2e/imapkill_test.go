package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// TestKillIMAP kills the daemon with SIGKILL while a mail program puts messages in and deletes some. What was answered with OK is so afterwards; what was
// not answered is as before or done, and nothing is there twice.
func TestKillIMAP(t *testing.T) {
	s := newIMAP(t, true)
	s.hook.Must(t, "mailbox", "set", anna, "append=on", "write=on")
	w := &writer{address: fmt.Sprintf("127.0.0.1:%d", s.starttls), state: make(map[string]string)}
	defer w.close()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				w.step(n)
			}
		}
	}()
	for range 8 {
		// However slow the machine is, the program does something between two kills.
		before := w.answered.Load()
		rig.Wait(t, time.Minute, "answers to the program", func() bool { return w.answered.Load() >= before+4 })
		time.Sleep(100*time.Millisecond + time.Duration(rand.Int64N(int64(300*time.Millisecond))))
		s.hook.Kill()
		s.hook.Start(t)
	}
	close(stop)
	<-done
	if w.err != nil {
		t.Fatal(w.err)
	}
	found := make(map[string][]string)
	for _, e := range s.hook.List(t, anna) {
		found[e.Subject] = append(found[e.Subject], "there")
	}
	for _, command := range []string{"SELECT Cestino", "FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]"} {
		answer, err := w.say(command)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`Subject: (\S+)`).FindAllStringSubmatch(answer, -1) {
			found[m[1]] = append(found[m[1]], "deleted")
		}
	}
	counts := make(map[string]int)
	for subject, state := range w.state {
		counts[state]++
		got := strings.Join(found[subject], " ")
		ok := got == state
		switch state {
		case "putting":
			ok = got == "" || got == "there"
		case "deleting":
			ok = got == "there" || got == "deleted"
		}
		if !ok {
			t.Errorf("%s is %q, want %q", subject, got, state)
		}
	}
	if t.Log(counts); counts["there"] < 10 || counts["deleted"] < 5 {
		t.Errorf("the program has done too little: %v", counts)
	}
	s.hook.Verify(t)
}

// writer is a mail program that puts messages in and deletes some. It begins anew when its connection breaks.
type writer struct {
	address string
	nc      net.Conn
	in      *bufio.Reader
	state   map[string]string // by subject: "putting" or "deleting" where no answer came, else "there" or "deleted"
	err     error             // an answer that no kill excuses

	answered atomic.Int64 // commands with OK
}

func (w *writer) close() {
	if w.nc != nil {
		w.nc.Close()
		w.nc = nil
	}
}

var appendUID = regexp.MustCompile(`APPENDUID \d+ (\d+)\]`)

// step puts one message in, and deletes every third again.
func (w *writer) step(n int) {
	subject := fmt.Sprint("n", n)
	text := fmt.Sprintf("Subject: %s\r\n\r\n", subject)
	if n%4 == 1 {
		text += string(randomLines(150_000))
	}
	w.state[subject] = "putting"
	answer, err := w.say(fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(text), text))
	if err != nil {
		return
	}
	w.state[subject] = "there"
	m := appendUID.FindStringSubmatch(answer)
	if m == nil {
		w.err = fmt.Errorf("no UID in %q", answer)
		return
	}
	if n%3 > 0 {
		return
	}
	if _, err := w.say("SELECT INBOX/" + time.Now().UTC().Format("2006-01")); err != nil {
		return
	}
	w.state[subject] = "deleting"
	if _, err := w.say("UID MOVE " + m[1] + " Cestino"); err == nil {
		w.state[subject] = "deleted"
	}
}

// say says a command on a connection that is signed in, and returns the answer. An error says that none came.
func (w *writer) say(command string) (answer string, err error) {
	for w.nc == nil {
		if w.nc, err = net.Dial("tcp", w.address); err != nil {
			w.nc = nil
			time.Sleep(10 * time.Millisecond)
			continue
		}
		w.in = bufio.NewReader(w.nc)
		if _, err := w.dialogue(fmt.Sprintf("LOGIN %s %q", anna, annasPassword)); err != nil {
			w.close()
		}
	}
	if answer, err = w.dialogue(command); err != nil {
		w.close()
	}
	return answer, err
}

func (w *writer) dialogue(command string) (string, error) {
	w.nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(w.nc, "t %s\r\n", command); err != nil {
		return "", err
	}
	var answer strings.Builder
	for {
		line, err := w.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		answer.WriteString(line)
		switch {
		case strings.HasPrefix(line, "t OK"):
			w.answered.Add(1)
			return answer.String(), nil
		case strings.HasPrefix(line, "t "):
			if !strings.Contains(line, "[UNAVAILABLE]") {
				w.err = errors.Join(w.err, fmt.Errorf("%.40s: %s", command, line))
			}
			return "", errors.New(line)
		}
	}
}
