package AcademyTest::Spec;

# The part of a suite behind __DATA__, read into blocks of named sections.
#
#     === TEST 1: name
#     --- section filter filter
#     text
#     --- section filter: text on the same line
#
# The text of a section passes through its filters one after the other; norm
# and trim come first of their own accord, and "-trim" takes one out.  What
# the last filter returns, one value or a list, is the section's value.

use strict;
use warnings;

use AcademyTest::Redis;

my %filters = (
    norm   => sub { map { s/\r\n?/\n/gr } @_ },
    trim   => sub { map { s/\A(?:[ \t]*\n)+//r =~ s/(?<=\n)\s+\z//r } @_ },
    chomp  => sub { map { s/\n\z//r } @_ },
    chop   => sub { map { substr($_, 0, -1) } @_ },
    lines  => sub { map { /^.*\n|^.+/mg } @_ },
    array  => sub { [@_] },
    eval   => \&evaluate,
);


# Functions of the suite are called as ::name() in a section: the code does
# not run in the suite's own package, neither here nor in the real module.

sub evaluate {
    my @value = eval "package AcademyTest::Spec::Sandbox;\n"
                     . "use strict; use warnings;\n#line 1 section\n$_[0]";
    die $@ if $@;
    return @value;
}


sub blocks_of {
    my ($text) = @_;

    my (@blocks, $block, $section);

    for my $line (split /^/, $text) {

        if ($line =~ /^===[ \t]*(.*?)\s*$/) {
            $block = AcademyTest::Spec::Block->new($1);
            push @blocks, $block;
            $section = undef;

        } elsif ($block && $line =~ /^--- +(\w+)[ \t]*(.*?)\s*$/) {
            my ($name, $rest) = ($1, $2);
            my ($filters, $value) = $rest =~ /^(.*?)\s*:(?:\s+(.*)|)$/
                                    ? ($1, $2 // '') : ($rest, undef);

            $section = {
                name => $name, filters => $filters,
                text => $value // '', inline => defined $value,
            };
            push @{ $block->{order} }, $section;

        } elsif ($section) {
            die "$block->{name}: text below the one-line section"
                . " \"$section->{name}\"\n"
                if $section->{inline} && $line =~ /\S/;

            $section->{text} .= $line unless $section->{inline};
        }
    }

    # what is about a zone's memory, or about what Redis does not know

    return grep {
        !$_->has('SKIP')
            && !(AcademyTest::Redis::wanted() && $_->has('zone_only'))
    } chosen(@blocks);
}


sub chosen {
    my (@blocks) = @_;

    if (my ($only) = grep { $_->has('ONLY') } @blocks) {
        return $only;
    }

    my @kept;

    for my $block (@blocks) {
        push @kept, $block;
        last if $block->has('LAST');
    }

    return @kept;
}


package AcademyTest::Spec::Block;

our $AUTOLOAD;


sub new {
    my ($class, $name) = @_;
    return bless { name => $name, order => [], value => {}, seen => {} },
        $class;
}


sub has {
    my ($self, $name) = @_;
    return scalar grep { $_->{name} eq $name } @{ $self->{order} };
}


sub run_filters {
    my ($self) = @_;

    for my $section (@{ $self->{order} }) {
        my @value = ($section->{text});
        my @names = split ' ', $section->{filters};
        my %without = map { /^-(.*)/ ? ($1 => 1) : () } @names;

        for my $name (grep { !/^-/ && !$without{$_} } 'norm', 'trim', @names)
        {
            my $filter = $filters{$name}
                or die "$self->{name}: section \"$section->{name}\":"
                       . " unknown filter \"$name\"\n";

            @value = eval { $filter->(@value) };
            die "$self->{name}: section \"$section->{name}\": $@" if $@;
        }

        $self->set_value($section->{name}, @value);
    }

    return;
}


sub set_value {
    my ($self, $name, @value) = @_;

    if ($name eq 'name') {
        $self->{name} = $value[0];
        return;
    }

    $self->{value}{$name} = \@value;
    return;
}


sub name { $_[0]{name} }


# A section that nobody has asked for when the block is done is one that
# this runner does not know: better an error than a test that checks nothing.

sub unread {
    my ($self) = @_;
    return grep { !$self->{seen}{$_} } sort keys %{ $self->{value} };
}


sub AUTOLOAD {
    my ($self) = @_;

    my $name = $AUTOLOAD =~ s/.*:://r;
    return if $name eq 'DESTROY';

    $self->{seen}{$name} = 1;

    my @value = @{ $self->{value}{$name} // [] };
    return wantarray ? @value : $value[0];
}


1;
