package setup

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/smallstep/pkcs7"
	"howett.net/plist"

	"copialettere/policy"
)

// ProfileType is the media type of a configuration profile.
const ProfileType = "application/x-apple-aspen-config"

// The property list of a configuration profile with one mail account: Apple's "Configuration Profile Reference", payload com.apple.mail.managed.
type (
	configuration struct {
		PayloadContent      []mailPayload
		PayloadDescription  string
		PayloadDisplayName  string
		PayloadIdentifier   string
		PayloadOrganization string
		PayloadType         string
		PayloadUUID         string
		PayloadVersion      int
	}
	mailPayload struct {
		EmailAccountDescription                string
		EmailAccountType                       string
		EmailAddress                           string
		IncomingMailServerAuthentication       string
		IncomingMailServerHostName             string
		IncomingMailServerPortNumber           int
		IncomingMailServerUseSSL               bool
		IncomingMailServerUsername             string
		OutgoingMailServerAuthentication       string
		OutgoingMailServerHostName             string
		OutgoingMailServerPortNumber           int
		OutgoingMailServerUseSSL               bool
		OutgoingMailServerUsername             string
		OutgoingPasswordSameAsIncomingPassword bool
		PayloadDescription                     string
		PayloadDisplayName                     string
		PayloadIdentifier                      string
		PayloadType                            string
		PayloadUUID                            string
		PayloadVersion                         int
	}
)

// Profile returns a configuration profile for an account, signed if the Guide has a Signer. archive is the name of the archive: the identifiers
// depend on it, so a second profile for the same person replaces the first. The error wraps ErrNotOffered where there is no server for outgoing
// mail, without which Apple's programs take no profile.
func (g *Guide) Profile(p Parameters, archive string, l policy.Language) ([]byte, error) {
	if p.Outgoing == nil {
		return nil, fmt.Errorf("profile of %s: %w: the configuration names no server for outgoing mail, in [submission] or mailbox_servers.smtp, and Apple's "+
			"programs insist on one", p.Mailbox, ErrNotOffered)
	}
	name := p.Account.label().In(l) + " " + p.Mailbox
	kinds := map[Protocol]string{IMAP: "EmailTypeIMAP", POP3: "EmailTypePOP"}
	identifier := "copialettere." + string(p.Account) + "." + stableUUID(archive, string(p.Account))
	domain := ""
	if address, err := policy.ParseAddress(p.Mailbox); err == nil {
		domain = address.Domain
	}
	about := policy.Label{Italian: "Imposta l'account di posta. La password viene chiesta durante l'installazione.",
		English: "Sets up the mail account. The password is asked for during the installation."}.In(l)
	if p.AppPassword {
		about = policy.Label{
			Italian: "Imposta l'account di posta. Durante l'installazione viene chiesta la password: serve una password per programmi, non quella della casella.",
			English: "Sets up the mail account. The installation asks for the password: it has to be an app password, not that of the mailbox."}.In(l)
	}
	mail := mailPayload{
		EmailAccountDescription: name, EmailAccountType: kinds[p.Incoming.Protocol], EmailAddress: p.Mailbox,
		IncomingMailServerAuthentication: "EmailAuthPassword", IncomingMailServerHostName: p.Incoming.Host,
		IncomingMailServerPortNumber: int(p.Incoming.Port), IncomingMailServerUseSSL: true, IncomingMailServerUsername: p.Incoming.User,
		OutgoingMailServerAuthentication: "EmailAuthPassword", OutgoingMailServerHostName: p.Outgoing.Host,
		OutgoingMailServerPortNumber: int(p.Outgoing.Port), OutgoingMailServerUseSSL: true, OutgoingMailServerUsername: p.Outgoing.User,
		OutgoingPasswordSameAsIncomingPassword: true,
		PayloadDescription:                     about, PayloadDisplayName: name, PayloadIdentifier: identifier + ".mail", PayloadType: "com.apple.mail.managed",
		PayloadUUID: stableUUID(archive, string(p.Account), "mail"), PayloadVersion: 1,
	}
	b, err := plist.MarshalIndent(configuration{
		PayloadContent: []mailPayload{mail}, PayloadDescription: about, PayloadDisplayName: name, PayloadIdentifier: identifier, PayloadOrganization: domain,
		PayloadType: "Configuration", PayloadUUID: stableUUID(archive, string(p.Account)), PayloadVersion: 1,
	}, plist.XMLFormat, "\t")
	if err == nil && g.config.Signer != (Signer{}) {
		b, err = g.config.Signer.sign(b)
	}
	if err != nil {
		return nil, fmt.Errorf("profile of %s: %w", p.Mailbox, err)
	}
	return b, nil
}

// stableUUID returns a UUID that depends on names alone, of version 8 (RFC 9562 section 5.8).
func stableUUID(names ...string) string {
	hash := sha256.New()
	hash.Write([]byte("copialettere profile"))
	for _, name := range names {
		hash.Write([]byte("\x00" + name))
	}
	u := hash.Sum(nil)[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Signer signs profiles.
type Signer struct {
	// Certificate and Key are the paths of a certificate, with those between it and its authority, and of its private key, in PEM.
	Certificate, Key string
}

// sign returns content inside a signed message (CMS SignedData, RFC 5652 section 5), in DER. It reads the files each time, so a renewed certificate
// is in force at once.
func (s Signer) sign(content []byte) ([]byte, error) {
	pair, err := tls.LoadX509KeyPair(s.Certificate, s.Key)
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", s.Certificate, err)
	}
	signed, err := pkcs7.NewSignedData(content)
	if err != nil {
		return nil, err
	}
	signed.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	var parents []*x509.Certificate
	for _, der := range pair.Certificate[1:] {
		parent, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("sign with %s: %w", s.Certificate, err)
		}
		parents = append(parents, parent)
	}
	if err := signed.AddSignerChain(pair.Leaf, pair.PrivateKey, parents, pkcs7.SignerInfoConfig{}); err != nil {
		return nil, fmt.Errorf("sign with %s: %w", s.Certificate, err)
	}
	return signed.Finish()
}

// Check reports whether the Signer can sign, by doing it.
func (s Signer) Check() error {
	b, err := s.sign([]byte("test"))
	if err != nil {
		return err
	}
	signed, err := pkcs7.Parse(b)
	if err == nil {
		err = signed.Verify()
	}
	if err == nil && signed.GetOnlySigner() == nil {
		err = errors.New("nobody signed")
	}
	if err != nil {
		return fmt.Errorf("sign with %s: %w", s.Certificate, err)
	}
	return nil
}
