package archive

// traffic is what came in to the mailboxes of a domain.
type traffic struct{}
