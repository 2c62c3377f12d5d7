// Reference is the least that a transparent LMTP hook with a durable journal can be: the limit to measure the real one against. It hands commands and
// replies on, gathers a message up to its dot, appends it to a log of preallocated and zeroed space, has the log synced, one sync for all messages that wait,
// and then gives the next hop the dot. It understands nothing else, and nobody can read what it keeps.
//
// It takes the place of copialettere in the bench: "reference serve -config FILE" reads the address of its listener and the next hop from that file, takes a
// listener from systemd too, and says when it is ready. Every other command does nothing; verify prints an empty report.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"syscall"
)

// step is how many bytes of a log are preallocated at once. Once a log has more than longest it begins anew.
const (
	step    = 64 << 20
	longest = 512 << 20
)

// journal is the log. Whoever finds no sync under way leads the next one, for all who came since the last.
type journal struct {
	file *os.File

	mu            sync.Mutex
	cond          sync.Cond
	gathered      []byte
	spare         []byte
	batch, synced uint64 // the batch being gathered, and how many are synced
	leading       bool

	offset, end int64 // of the leader
}

func open(name string) (*journal, error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	j := &journal{file: file}
	j.cond.L = &j.mu
	return j, j.extend()
}

func (j *journal) extend() error {
	zeros := make([]byte, 1<<20)
	for end := j.end + step; j.end < end; j.end += int64(len(zeros)) {
		if _, err := j.file.WriteAt(zeros, j.end); err != nil {
			return err
		}
	}
	return j.file.Sync()
}

// commit returns once the message is durable.
func (j *journal) commit(message []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.gathered = append(j.gathered, message...)
	for mine := j.batch; j.synced <= mine; {
		if j.leading {
			j.cond.Wait()
			continue
		}
		j.leading = true
		batch := j.gathered
		j.gathered = j.spare[:0]
		j.batch++
		j.mu.Unlock()
		if err := j.write(batch); err != nil {
			log.Fatal(err)
		}
		j.mu.Lock()
		j.spare, j.synced, j.leading = batch, j.batch, false
		j.cond.Broadcast()
	}
}

func (j *journal) write(batch []byte) error {
	if j.offset > longest {
		j.offset = 0
	}
	for j.offset+int64(len(batch)) > j.end {
		if err := j.extend(); err != nil {
			return err
		}
	}
	if _, err := j.file.WriteAt(batch, j.offset); err != nil {
		return err
	}
	j.offset += int64(len(batch))
	return syscall.Fdatasync(int(j.file.Fd()))
}

// session is a connection of a client with its own to the next hop.
type session struct {
	client, hop net.Conn
	in          *bufio.Reader // from the client
	out         *bufio.Reader // from the next hop

	commands, replies, message []byte
}

// reply appends the next hop's next reply to replies.
func (s *session) reply() error {
	for {
		line, err := s.out.ReadSlice('\n')
		if err != nil {
			return err
		}
		s.replies = append(s.replies, line...)
		if len(line) > 3 && line[3] == ' ' {
			return nil
		}
	}
}

// answer hands so many replies on in one write.
func (s *session) answer(count int) error {
	s.replies = s.replies[:0]
	for range count {
		if err := s.reply(); err != nil {
			return err
		}
	}
	_, err := s.client.Write(s.replies)
	return err
}

// exchange hands on all commands that have come, and the replies. It reports whether a message follows.
func (s *session) exchange() (data bool, err error) {
	s.commands = s.commands[:0]
	count := 0
	for more := true; more; count++ {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return false, err
		}
		s.commands = append(s.commands, line...)
		data = len(line) >= 4 && bytes.EqualFold(line[:4], []byte("DATA"))
		there, _ := s.in.Peek(s.in.Buffered())
		more = bytes.IndexByte(there, '\n') >= 0
	}
	if _, err := s.hop.Write(s.commands); err != nil {
		return false, err
	}
	err = s.answer(count)
	return data && bytes.Contains(s.replies, []byte("354 ")), err
}

// read gathers a message with its dot.
func (s *session) read() error {
	end := []byte("\r\n.\r\n")
	s.message = s.message[:0]
	for {
		if _, err := s.in.Peek(1); err != nil {
			return err
		}
		piece, _ := s.in.Peek(s.in.Buffered())
		from := max(0, len(s.message)-len(end)+1)
		before := len(s.message)
		s.message = append(s.message, piece...)
		if i := bytes.Index(s.message[from:], end); i >= 0 {
			s.message = s.message[:from+i+len(end)]
			s.in.Discard(len(s.message) - before)
			return nil
		}
		s.in.Discard(len(piece))
	}
}

func (s *session) serve(j *journal) error {
	if err := s.answer(1); err != nil {
		return err
	}
	for {
		data, err := s.exchange()
		if err != nil {
			return err
		}
		if !data {
			continue
		}
		if err := s.read(); err != nil {
			return err
		}
		dot := len(s.message) - len(".\r\n")
		if _, err := s.hop.Write(s.message[:dot]); err != nil {
			return err
		}
		j.commit(s.message)
		if _, err := s.hop.Write(s.message[dot:]); err != nil {
			return err
		}
		if err := s.answer(1); err != nil {
			return err
		}
	}
}

// accept serves the connections of a listener. An error ends a session and nothing else: clients leave as they like.
func accept(l net.Listener, network, address string, j *journal) {
	for {
		client, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer client.Close()
			hop, err := net.Dial(network, address)
			if err != nil {
				log.Print(err)
				return
			}
			defer hop.Close()
			s := &session{client: client, hop: hop, in: bufio.NewReaderSize(client, 64<<10), out: bufio.NewReader(hop)}
			s.serve(j)
		}()
	}
}

func serve(config string) error {
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	setting := func(pattern string) string {
		if found := regexp.MustCompile(pattern).FindSubmatch(text); found != nil {
			return string(found[1])
		}
		return ""
	}
	j, err := open(config + ".log")
	if err != nil {
		return err
	}
	network, address := "tcp", setting(`next_hop += "lmtp:([^"]+)"`)
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	l, err := net.Listen("tcp", setting(`"tcp:([^"]+)"`))
	if err != nil {
		return err
	}
	go accept(l, network, address, j)
	if os.Getenv("LISTEN_FDS") == "1" {
		given, err := net.FileListener(os.NewFile(3, "received"))
		if err != nil {
			return err
		}
		go accept(given, network, address, j)
	}
	if to := os.Getenv("NOTIFY_SOCKET"); to != "" {
		c, err := net.Dial("unixgram", to)
		if err != nil {
			return err
		}
		fmt.Fprint(c, "READY=1")
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	<-stop
	return nil
}

func main() {
	switch {
	case len(os.Args) == 4 && os.Args[1] == "serve":
		if err := serve(os.Args[3]); err != nil {
			log.Fatal(err)
		}
	case len(os.Args) > 1 && os.Args[1] == "verify":
		fmt.Println("{}")
	}
}
