package submission

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTranscripts plays the dialogues of testdata/transcripts: a C line is sent, C* with the next one in one packet, an S line must come. Lines with
// < and > are those of the relay, in its own order: what it must be told, and what it says. Braces stand for the encoding of AUTH.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			check(t, err)
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			var script []string
			for _, line := range lines {
				if strings.HasPrefix(line, "<") || strings.HasPrefix(line, ">") {
					script = append(script, line)
				}
			}
			_, address := newServer(t, func(c *Config) {
				if len(script) > 0 {
					c.Relay = startRelay(t, "127.0.0.1", nil, false, script...).address
				}
			})
			play(t, dial(t, address), lines)
		})
	}
}

func play(t *testing.T, p *program, lines []string) {
	t.Helper()
	packet := ""
	for i, line := range lines {
		kind, text, _ := strings.Cut(line, ": ")
		switch kind {
		case "C*", "C":
			if packet += encode(text) + "\r\n"; kind == "C" {
				p.send(packet)
				packet = ""
			}
		case "S":
			if got := p.line(); got != encode(text) {
				t.Fatalf("line %d: got %q, want %q", i+1, got, text)
			}
		default:
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "<") && !strings.HasPrefix(line, ">") {
				t.Fatalf("line %d: %q", i+1, line)
			}
		}
	}
}
