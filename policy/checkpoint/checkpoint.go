// Package checkpoint makes the checkpoints of an archive: it keeps the signing key, has an authority stamp the time, and keeps the notes where whoever
// could alter the archive cannot alter them too.
//
// # Layout on disk
//
//	Options.KeyFile      the signing key, one line "PRIVATE+KEY+NAME+HASH+DATA" (golang.org/x/mod/sumdb/note), mode 0600. It is made with the first
//	                     checkpoint, or by MakeKey, where there is none; a key that is lost is not replaced by itself
//	Options.PublicFile   the verifier keys "NAME+HASH+DATA" of the signing key and of those before it, one a line, oldest first. They are no secret
//	Folder/checkpoint-000012-20261130T020000Z.txt   the signed note of checkpoint 12, and the time when it was made
//	Folder/checkpoint-000012-20261130T020000Z.tsr   the answer of the time stamping authority about that file (RFC 3161), DER
//	Folder/verifier-keys.txt                        a copy of Options.PublicFile
//
// Folder is outside the data folder. A file there is never replaced by another one: where the archive was put back to an earlier state and makes a
// checkpoint of the same number again, both stay, and Verify finds them.
package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"copialettere/journal"
	"copialettere/journal/durable"
	"copialettere/journal/evidence"
	"copialettere/journal/metrics"
)

// ErrKey says that the signing key is not there, or is none.
var ErrKey = errors.New("no signing key")

// stampTimeout is how long the authority may take.
const stampTimeout = 30 * time.Second

// Settings are what the configuration says of checkpoints. The zero value makes them with the key of the data folder, and keeps them there alone.
type Settings struct {
	KeyFile      string   // the signing key; empty: that of the data folder
	VerifierKeys []string // the only keys that count in a verification; empty: those of the data folder and of KeyFile
	StampURL     string   // of the time stamping authority; empty for none
	StampCA      string   // file with its root certificates, PEM; empty: who signed is not judged
	Folder       string   // where notes are kept outside the data folder; empty for nowhere
	Mail         bool     // each note is mailed to the operator
}

// Options are what a Maker works with. Journal, KeyFile and PublicFile are required.
type Options struct {
	Journal    *journal.Journal
	KeyFile    string             // where the key is that the data folder has
	PublicFile string             // see the package
	Name       string             // of a key that is made: see evidence.CheckName
	Mail       func(text string)  // takes a text for the operator without waiting for anything. May be nil
	Client     *http.Client       // for the authority; nil: one of its own
	Logger     *slog.Logger       // slog.Default where nil
	Metrics    *metrics.Registry  // nothing is counted where nil
	Step       func(string) error // as of durable.Write. May be nil
}

// Maker makes checkpoints. Its methods may be called concurrently.
type Maker struct {
	options Options
	made    *metrics.Gauge
	failed  *metrics.Counter

	mu       sync.Mutex
	settings Settings // guarded by mu
	making   sync.Mutex
}

// Made is a checkpoint as it is told.
type Made struct {
	*journal.StoredCheckpoint
	Stamped *evidence.Stamp // nil where it has no time stamp
	Outside string          // the file outside the data folder; empty where there is none
	Faults  []error         // what did not succeed beside it: the checkpoint stands all the same
}

// New returns a Maker.
func New(o Options, s Settings) *Maker {
	if o.Metrics == nil {
		o.Metrics = new(metrics.Registry)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Client == nil {
		o.Client = &http.Client{Timeout: stampTimeout}
	}
	return &Maker{
		options: o, settings: s,
		made:   o.Metrics.Gauge("copialettere_checkpoint_timestamp_seconds", "When the last checkpoint was made, in seconds since 1970; 0 for none since the start."),
		failed: o.Metrics.Counter("copialettere_checkpoint_failures_total", "Checkpoints that were not made, not stamped, or not kept outside the data folder."),
	}
}

// Configure puts settings in force.
func (m *Maker) Configure(s Settings) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settings = s
}

func (m *Maker) current() Settings {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.settings
}

// Make makes a checkpoint now, has its time stamped, and keeps it outside, as the settings say. With an error there is none. A month that could not be
// read is among the Faults.
func (m *Maker) Make(ctx context.Context) (*Made, error) {
	m.making.Lock()
	defer m.making.Unlock()
	s := m.current()
	key, err := m.signingKey(ctx, s)
	if err != nil {
		m.failed.Inc()
		return nil, err
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(key, "PRIVATE+KEY+"), "+")
	made := new(Made)
	c, err := m.options.Journal.Checkpoint(ctx, name, func(n evidence.Note) ([]byte, error) { return n.Sign(key) })
	if c == nil {
		m.failed.Inc()
		return nil, err
	}
	made.StoredCheckpoint = c
	m.made.Set(c.Time.Unix())
	fault := func(err error) {
		if err != nil {
			m.failed.Inc()
			made.Faults = append(made.Faults, err)
		}
	}
	fault(err)
	fault(m.stamp(ctx, s, made))
	fault(m.keepOutside(ctx, s, made))
	if s.Mail && m.options.Mail != nil {
		m.options.Mail(mailText(c))
	}
	return made, nil
}

// mailText is what the operator is mailed of a checkpoint.
func mailText(c *journal.StoredCheckpoint) string {
	return fmt.Sprintf("Checkpoint %d of the archive, made on %s. Keep this mail: with it, \"copialettere verify\" finds an archive that was put back to an "+
		"earlier state. Save the lines that follow to a file checkpoint-%06d.txt in the folder of [evidence] checkpoints.\n\n%s",
		c.Number, c.Time.Format(time.DateTime), c.Number, c.Note)
}

// signingKey reads the key. It makes one where there never was one.
func (m *Maker) signingKey(ctx context.Context, s Settings) (string, error) {
	file := s.KeyFile
	if file == "" {
		file = m.options.KeyFile
	}
	key, err := readKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if s.KeyFile == "" {
		last, lastErr := m.options.Journal.LastCheckpoint(ctx)
		if lastErr != nil {
			return "", lastErr
		}
		if last == nil {
			if _, err := MakeKey(m.options.KeyFile, m.options.PublicFile, m.options.Name, m.options.Step); err != nil {
				return "", err
			}
			return readKey(file)
		}
	}
	return "", fmt.Errorf("%w: %s is not there: put it back from a backup, or make another one with \"copialettere checkpoint -new-key\"", ErrKey, file)
}

// readKey reads a signing key. The error is fs.ErrNotExist where there is no file.
func readKey(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(b))
	if _, err := evidence.VerifierKey(key); err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrKey, file, err)
	}
	return key, nil
}

// NewKey makes a signing key in place of the one of the data folder, which is lost for good. It returns the verifier key. Where the configuration names a
// key, that is to be replaced there.
func (m *Maker) NewKey() (string, error) {
	m.making.Lock()
	defer m.making.Unlock()
	if file := m.current().KeyFile; file != "" {
		return "", fmt.Errorf("%w: [evidence] signing_key names %s: replace that file", ErrKey, file)
	}
	return MakeKey(m.options.KeyFile, m.options.PublicFile, m.options.Name, m.options.Step)
}

// MakeKey makes a signing key with a name, and adds its verifier key, which it returns, to the public ones. The latter come first: a key that signs is
// always among them.
func MakeKey(keyFile, publicFile, name string, step func(string) error) (verifier string, err error) {
	signing, verifier, err := evidence.NewKey(name)
	if err != nil {
		return "", err
	}
	known, err := readLines(publicFile)
	if err != nil {
		return "", err
	}
	if err := durable.Write(publicFile, strings.NewReader(strings.Join(append(known, verifier), "\n")+"\n"), step); err != nil {
		return "", fmt.Errorf("keep the verifier key: %w", err)
	}
	if err := durable.Write(keyFile, strings.NewReader(signing+"\n"), step); err != nil {
		return "", fmt.Errorf("keep the signing key: %w", err)
	}
	return verifier, nil
}

// readLines reads the lines of a file that are not empty; none where there is no file.
func readLines(file string) ([]string, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(strings.Split(string(b), "\n"), func(s string) bool { return strings.TrimSpace(s) == "" }), nil
}

// Keys returns the verifier keys that count.
func (m *Maker) Keys() ([]string, error) {
	s := m.current()
	if len(s.VerifierKeys) > 0 {
		return s.VerifierKeys, nil
	}
	keys, err := readLines(m.options.PublicFile)
	if err != nil || s.KeyFile == "" {
		return keys, err
	}
	signing, err := readKey(s.KeyFile)
	if err != nil {
		return nil, err
	}
	verifier, err := evidence.VerifierKey(signing)
	if err == nil && !slices.Contains(keys, verifier) {
		keys = append(keys, verifier)
	}
	return keys, err
}

// Evidence returns what a verification judges checkpoints by: the keys, the authority, and what is kept outside. With an error it has what could be read.
func (m *Maker) Evidence() (journal.EvidenceOptions, error) {
	s := m.current()
	var o journal.EvidenceOptions
	var errs [3]error
	o.Keys, errs[0] = m.Keys()
	o.StampRoots, errs[1] = stampRoots(s)
	o.Outside, errs[2] = outside(s.Folder)
	return o, errors.Join(errs[:]...)
}

// StampCA returns the root certificates of the time stamping authority, PEM; nil where the settings name none.
func (m *Maker) StampCA() ([]byte, error) {
	return readStampCA(m.current())
}

// readStampCA reads the file of the root certificates; nil for none.
func readStampCA(s Settings) ([]byte, error) {
	if s.StampCA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(s.StampCA)
	if err != nil {
		return nil, fmt.Errorf("[evidence] timestamp_ca: %w", err)
	}
	return pem, nil
}

// stampRoots reads the root certificates of the authority; nil for none.
func stampRoots(s Settings) (*x509.CertPool, error) {
	pem, err := readStampCA(s)
	if err != nil || pem == nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("[evidence] timestamp_ca: %s has no certificate in PEM", s.StampCA)
	}
	return roots, nil
}

// stamp has the time of a checkpoint stamped, where the settings name an authority.
func (m *Maker) stamp(ctx context.Context, s Settings, made *Made) error {
	if s.StampURL == "" {
		return nil
	}
	roots, err := stampRoots(s)
	if err != nil {
		return err
	}
	answer, stamp, err := evidence.RequestStamp(ctx, m.options.Client, s.StampURL, sha256.Sum256([]byte(made.Note)), roots)
	if err != nil {
		return fmt.Errorf("checkpoint %d has no time stamp: %w", made.Number, err)
	}
	if err := m.options.Journal.Stamp(ctx, made.Number, answer); err != nil {
		return err
	}
	made.Stamp, made.Stamped = answer, &stamp
	return nil
}

// outsideName is the name of the file of a checkpoint, without its extension.
func outsideName(c *journal.StoredCheckpoint) string {
	return fmt.Sprintf("checkpoint-%06d-%s", c.Number, c.Time.UTC().Format("20060102T150405Z"))
}

// keepOutside writes the checkpoints that the folder outside lacks, such as those of days on which it was not there.
func (m *Maker) keepOutside(ctx context.Context, s Settings, made *Made) error {
	if s.Folder == "" {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("keep checkpoints in %s: %w", s.Folder, err) }
	list, err := os.ReadDir(s.Folder) // it is not made here: the disk may not be mounted
	if err != nil {
		return fail(err)
	}
	there := make(map[string]bool, len(list))
	for _, entry := range list {
		there[entry.Name()] = true
	}
	for c, err := range m.options.Journal.Checkpoints(ctx, 0) {
		if errors.Is(err, journal.ErrDamaged) {
			continue // a verification reports it
		}
		if err != nil {
			return fail(err)
		}
		name := outsideName(c)
		if !there[name+".txt"] {
			if err := durable.Write(filepath.Join(s.Folder, name+".txt"), strings.NewReader(c.Note), m.options.Step); err != nil {
				return fail(err)
			}
		}
		if len(c.Stamp) > 0 && !there[name+".tsr"] {
			if err := durable.Write(filepath.Join(s.Folder, name+".tsr"), bytes.NewReader(c.Stamp), m.options.Step); err != nil {
				return fail(err)
			}
		}
	}
	made.Outside = filepath.Join(s.Folder, outsideName(made.StoredCheckpoint)+".txt")
	keys, err := m.Keys()
	if err != nil {
		return fail(err)
	}
	const keysFile = "verifier-keys.txt"
	known, err := readLines(filepath.Join(s.Folder, keysFile))
	if err != nil {
		return fail(err)
	}
	for _, key := range keys {
		if !slices.Contains(known, key) {
			known = append(known, key)
			there[keysFile] = false
		}
	}
	if !there[keysFile] {
		err = durable.Write(filepath.Join(s.Folder, keysFile), strings.NewReader(strings.Join(known, "\n")+"\n"), m.options.Step)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// outside reads the notes that are kept outside.
func outside(folder string) ([]journal.OutsideNote, error) {
	if folder == "" {
		return nil, nil
	}
	list, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("[evidence] checkpoints: %w", err)
	}
	var notes []journal.OutsideNote
	for _, entry := range list {
		if name := entry.Name(); !strings.HasPrefix(name, "checkpoint-") || filepath.Ext(name) != ".txt" {
			continue
		}
		file := filepath.Join(folder, entry.Name())
		b, err := os.ReadFile(file)
		if err != nil {
			return notes, fmt.Errorf("[evidence] checkpoints: %w", err)
		}
		notes = append(notes, journal.OutsideNote{Name: file, Note: b})
	}
	return notes, nil
}
